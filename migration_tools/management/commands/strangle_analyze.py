"""Say where the monolith could be cut: what is coupled to what, what each cut costs, and whether to cut at all."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.analysis.analyse import Evidence, analyse
from migration_tools.analysis.call_sites import call_sites, render_call_sites
from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.database import DatabaseFacts, has_relayed, read_facts, since
from migration_tools.analysis.impact import impact_of, render_impact
from migration_tools.analysis.render_machine import render_dot, render_sarif
from migration_tools.analysis.render_text import headline
from migration_tools.analysis.split import render_split, split_of
from migration_tools.analysis.trace import Trace
from migration_tools.conf import settings
from migration_tools.errors import AnalysisError
from migration_tools.management.examples import Examples
from migration_tools.management.output import write_output
from migration_tools.management.reports import render
from migration_tools.reports.kinds import Format, Kind
from migration_tools.stores.postgres import Connection, connect

#: What only this kind of report is rendered as, beside the formats of every kind.
FURTHER = {"sarif": render_sarif, "dot": render_dot}
FORMATS = sorted([*Format, *FURTHER])


class Command(Examples):
    """Reads code, traces and counters; writes nothing but the report."""

    help = "Analyse what couples the contexts."
    examples = ("--trace var/trace --format html --output cut.html",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=[str(each) for each in FORMATS], default="text")
        parser.add_argument("--output", help="write the report to this file instead of standard output")
        parser.add_argument(
            "--trace", action="append", default=[], metavar="PATH", help="a trace, or a directory of traces; repeatable"
        )
        parser.add_argument(
            "--what-if", action="append", default=[], metavar="A+B", help="as if these contexts were one; repeatable"
        )
        asked = parser.add_mutually_exclusive_group()
        asked.add_argument("--impact", metavar="APP.MODEL.FIELD", help="who reads and writes this column, by context")
        asked.add_argument("--split", metavar="APP.MODEL", help="which context uses which column of a table of many")
        asked.add_argument("--call-sites", metavar="CONTEXT", help="the lines outside a context that use its rows")
        parser.add_argument("--since", metavar="REPORT", help="rates since an earlier report in JSON")
        parser.add_argument("--database", help="whose counters to read (default: DATABASE of the settings)")
        parser.add_argument("--no-database", action="store_true", help="leave the database alone")

    def handle(self, *args: Any, **options: Any) -> None:
        _refuse_format(options)
        contexts = load_contexts()
        traces = [Path(each) for each in options["trace"]]
        trace = Trace.read(traces, contexts) if traces else None
        if options["impact"]:
            found = impact_of(options["impact"], contexts, trace)
            self._write(render_impact(found, options["format"]), options["output"], found.column)
            return
        if options["split"]:
            self._split(contexts, trace, options)
            return
        if options["call_sites"]:
            sites = call_sites(options["call_sites"], contexts)
            text = render_call_sites(options["call_sites"], sites, options["format"])
            self._write(text, options["output"], f"{len(sites)} call sites")
            return
        facts, relays = self._facts(options)
        what_if = [each.split("+") for each in options["what_if"]]
        report = analyse(contexts, Evidence(trace=trace, facts=facts, relays=relays), what_if=what_if)
        form = options["format"]
        text = FURTHER[form](report) if form in FURTHER else render(Kind.ANALYZE, report, form)
        self._write(text, options["output"], headline(report))

    def _split(self, contexts: ContextMap, trace: Trace | None, options: dict[str, Any]) -> None:
        with nullcontext() if options["no_database"] else self._connected(options) as conn:
            found = split_of(options["split"], contexts, trace, conn)
        told = f"{found.table}: {len(found.parts)} parts"
        self._write(render_split(found, options["format"]), options["output"], told)

    def _connected(self, options: dict[str, Any]) -> Connection:
        return connect(options["database"] or settings().DATABASE, "analyze")

    def _facts(self, options: dict[str, Any]) -> tuple[DatabaseFacts, bool]:
        if options["no_database"]:
            return DatabaseFacts(), False
        with self._connected(options) as conn:
            facts, relays = read_facts(conn), has_relayed(conn)
        if options["since"]:
            facts = since(facts, _earlier(Path(options["since"])))
        return facts, relays

    def _write(self, text: str, output: str | None, told: str) -> None:
        if output is None:
            self.stdout.write(text, ending="")
            return
        write_output(text, Path(output))
        self.stdout.write(f"{told}; written to {output}")


def _refuse_format(options: dict[str, Any]) -> None:
    """The answers to one question have no other form than these two."""
    for question in ("impact", "split", "call_sites"):
        form = options["format"]
        if options[question] and form not in ("text", "json"):
            option = f"--{question.replace('_', '-')}"
            raise AnalysisError(f"{option} answers in text or json, not in {form!r}; choose one of the two")


def _earlier(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
        document["tables"], document["measured_at"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnalysisError(f"{path.name!r} is no report in JSON: {error!r}; make one with --format json") from error
    return dict(document)
