"""Statements that only the database has seen: the tracer's blind spots, held against pg_stat_statements.

Note [one context]. A statement on one context's tables couples nothing by itself, but who sends it past the tracer may
be anybody, so it is told under its role. There may be thousands, of code that the traced workload did not reach; they
are one finding for each context and role, reads and writes apart.
"""

import re
from collections.abc import Iterator

from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.database import DatabaseFacts
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.statements import fingerprint, is_control, parse, shape_of
from migration_tools.analysis.trace import Trace
from migration_tools.analysis.traced import touched

SHAPES_AT_MOST = 20
_WORD = re.compile(r"[a-z_][\w$]*", re.IGNORECASE)
_CALLED = re.compile(r"([a-z_][\w$]*)\"?\s*\(", re.IGNORECASE)
_WRITTEN = re.compile(
    r"\b(?:(?:INSERT|MERGE)\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?)\s+(?:ONLY\s+)?"
    r"(?:\"?[a-z_][\w$]*\"?\.)?\"?([a-z_][\w$]*)",
    re.IGNORECASE,
)


def find_unseen(facts: DatabaseFacts, trace: Trace, contexts: ContextMap) -> Iterator[Finding]:
    """SFA206: the database ran a statement that the trace does not have; who, is said by role.

    Across contexts each is a finding. On one context's tables see Note [one context]. A call of a routine touches the
    tables that its body names.
    """
    seen = {fingerprint(sent.shape) for sent in trace.sent.values()}
    alone: dict[tuple[str, str, bool], list[tuple[int, str, list[str]]]] = {}
    for query, calls, roles in facts.statements or ():
        is_call = query.lstrip().upper().startswith("CALL")
        if is_control(query) and not is_call:
            continue
        shape = shape_of(query)
        tables, writes = _touches(shape, facts, is_call=is_call)
        across = touched(tables, contexts)
        if not across or (not is_call and fingerprint(shape) in seen):
            continue
        if len(across) == 1:
            ((context, named),) = across.items()
            alone.setdefault((context, roles, bool(writes & set(named))), []).append((calls, shape, named))
            continue
        home, *others = sorted(across, key=lambda name: (not set(across[name]) & writes, name))
        for there in others:
            yield Finding(
                rule="SFA206",
                source=home,
                target=there,
                message=f"role {roles} sent {calls} times: {shape[:200]}",
                tables=tuple(sorted(table for tables in across.values() for table in tables)),
                weight=calls,
                detail={"shape": shape, "roles": roles, "key": shape[:80]},
            )
    for (context, roles, writing), sent in sorted(alone.items()):
        yield _of_one(context, roles, sent, writing=writing)


def _of_one(context: str, roles: str, sent: list[tuple[int, str, list[str]]], *, writing: bool) -> Finding:
    sent.sort(key=lambda each: (-each[0], each[1]))
    calls = sum(each[0] for each in sent)
    does = "write" if writing else "read"
    return Finding(
        rule="SFA206",
        source=context,
        target=context,
        message=f"role {roles} sent {calls} times {len(sent)} statements that {does} {context} and are in no trace: "
        + "; ".join(shape[:120] for _, shape, _ in sent[:3]),
        tables=tuple(sorted({table for *_, named in sent for table in named})),
        weight=calls,
        detail={"shapes": [shape for _, shape, _ in sent[:SHAPES_AT_MOST]], "roles": roles, "key": f"{roles}:{does}"},
    )


def _touches(shape: str, facts: DatabaseFacts, *, is_call: bool) -> tuple[frozenset[str], frozenset[str]]:
    """The tables of a statement and those of them that it writes, with what the routines that it calls name."""
    tables, writes = frozenset[str](), frozenset[str]()
    if not is_call:  # sqlglot does not read those
        statement = parse(shape)
        tables, writes = statement.tables, statement.writes
    for name in {name.lower() for name in _CALLED.findall(shape)} & facts.routines.keys():
        body = re.sub(r"--[^\n]*", " ", facts.routines[name])
        tables |= frozenset(_WORD.findall(body))
        writes |= frozenset(_WRITTEN.findall(body))
    return tables, writes
