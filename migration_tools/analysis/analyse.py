"""Put the analysis together: models, code, trace and database become one report."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from django.conf import settings as django_settings

from migration_tools.analysis.code import find_in_code
from migration_tools.analysis.context_map import ContextMap, model_of_table
from migration_tools.analysis.database import DatabaseFacts, TableFacts
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.imports import find_imports
from migration_tools.analysis.listeners import find_admin, find_signals
from migration_tools.analysis.plan import clusters_of, coupling, pairs_of, plan_of, verdict_of
from migration_tools.analysis.relations import find_relations
from migration_tools.analysis.report import Analysis, ContextFacts, Size
from migration_tools.analysis.sql_files import find_in_sql_files
from migration_tools.analysis.trace import Trace
from migration_tools.analysis.traced import find_traced
from migration_tools.analysis.unseen import find_unseen
from migration_tools.errors import AnalysisError


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the analysis has to go by beside the code: any of it may be missing, and the report says so."""

    trace: Trace | None = None
    facts: DatabaseFacts = field(default_factory=DatabaseFacts)
    relays: bool = False


def analyse(contexts: ContextMap, evidence: Evidence, *, what_if: Sequence[Sequence[str]] = ()) -> Analysis:
    """Everything found, and the plan that follows from it.

    Raises:
        AnalysisError: `what_if` names a context that there is not, or a library is missing.
    """
    merged = contexts
    for names in what_if:
        _refuse_unknown(names, merged)
        merged = merged.merged(names)
    if evidence.trace is not None:
        evidence.trace.under(merged)
    findings = tuple(_findings(merged, evidence))
    facts = tuple(_context_facts(merged, evidence.facts))
    relevant = coupling(findings, merged)
    candidates = [each.name for each in merged.candidates]
    sizes = partial(_size, merged, evidence.facts)
    pairs = pairs_of(relevant, sizes)
    plan = plan_of(relevant, candidates, sizes)
    return Analysis(
        project=str(django_settings.ROOT_URLCONF).partition(".")[0],
        made_at=dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        contexts=facts,
        tables=tuple(_tables(merged, evidence.facts)),
        findings=findings,
        pairs=pairs,
        plan=plan,
        verdict=verdict_of(
            plan,
            facts,
            relevant,
            observed=evidence.trace is not None,
            measured=bool(evidence.facts.tables),
            relays=evidence.relays,
        ),
        clusters=clusters_of(pairs, candidates),
        measured_at=evidence.facts.at,
        seconds=evidence.facts.seconds,
        sources=tuple(_sources(evidence)),
        what_if=tuple("+".join(names) for names in what_if),
    )


def _refuse_unknown(names: Sequence[str], contexts: ContextMap) -> None:
    unknown = [name for name in names if name not in contexts.contexts]
    if unknown or len(set(names)) < max(len(names), 2):
        known = sorted(name for name, each in contexts.contexts.items() if not each.framework)
        raise AnalysisError(f"--what-if {'+'.join(names)!r} must join two contexts or more of {known}")


def _findings(contexts: ContextMap, evidence: Evidence) -> Iterable[Finding]:
    yield from find_relations(contexts)
    yield from find_signals(contexts)
    yield from find_admin(contexts)
    yield from find_in_code(contexts)
    yield from find_in_sql_files(contexts)
    yield from find_imports(contexts)
    if evidence.trace is not None:
        yield from find_traced(evidence.trace)
        yield from find_unseen(evidence.facts, evidence.trace, contexts)


def _size(contexts: ContextMap, facts: DatabaseFacts, names: Sequence[str], tables: Iterable[str] | None) -> Size:
    own = {table for name in names for table in contexts.contexts[name].tables}
    return facts.size(own if tables is None else own.intersection(tables))


def _context_facts(contexts: ContextMap, facts: DatabaseFacts) -> Iterable[ContextFacts]:
    for context in contexts.contexts.values():
        known = [facts.tables[table] for table in context.tables if table in facts.tables]
        yield ContextFacts(
            name=context.name,
            owner=context.owner,
            team=context.team,
            store=context.store,
            services=context.services,
            framework=context.framework,
            tables=context.tables,
            scans=sum(each.scans for each in known),
            written=sum(each.written for each in known),
            **asdict(facts.size(context.tables)),
        )


def _tables(contexts: ContextMap, facts: DatabaseFacts) -> Iterable[Mapping[str, Any]]:
    models = model_of_table()
    for context in contexts.contexts.values():
        for table in context.tables:
            model = models.get(table)
            counted = asdict(facts.tables.get(table, TableFacts()))
            yield {
                "name": table,
                "context": context.name,
                "model": model._meta.label if model is not None else "",
                **counted,
                "writes_per_second": round(facts.rate(table), 6),
            }


def _sources(evidence: Evidence) -> Iterable[str]:
    yield "models and code"
    if evidence.trace is not None:
        yield f"a trace of {sum(each.count for each in evidence.trace.sent.values()):,} statements"
    if evidence.facts.tables:
        yield f"the database's counters of {evidence.facts.seconds:,.0f} s"
    if evidence.facts.statements is not None:
        yield f"pg_stat_statements, {len(evidence.facts.statements):,} statements"


def without(analysis: Analysis, rules: Iterable[str]) -> Analysis:
    """The report without some rules' findings; the plan stays as it was."""
    left_out = set(rules)
    return replace(analysis, findings=tuple(each for each in analysis.findings if each.rule not in left_out))
