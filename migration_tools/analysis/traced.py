"""Findings of a trace: JOINs, transactions, foreign writers and readers, N+1 after the cut."""

from collections.abc import Iterator

from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.statements import parse
from migration_tools.analysis.trace import Sent, Trace, Written

MANY = 5
"""So many statements of one shape from one line in one request or test are a loop."""


def find_traced(trace: Trace) -> Iterator[Finding]:
    """SFA201 to SFA205; couplings with a framework's tables are left out, since every side has those."""
    contexts = trace.contexts
    for sent in trace.sent.values():
        yield from of_statement(sent, contexts)
    for written in trace.written.values():
        yield from of_transaction(written, contexts)


def of_statement(sent: Sent, contexts: ContextMap) -> Iterator[Finding]:
    """SFA201, SFA203 to SFA205 of one shape from one line."""
    if sent.function:  # else a test's own statement, or a shell's
        yield from _join(sent, contexts)
        yield from _foreign(sent, contexts)


def touched(tables: frozenset[str], contexts: ContextMap) -> dict[str, list[str]]:
    """Context → its tables among these, frameworks left out."""
    found: dict[str, list[str]] = {}
    for table in sorted(tables):
        context = contexts.of_table(table)
        if context is not None and not contexts.is_framework(context):
            found.setdefault(context, []).append(table)
    return found


def _join(sent: Sent, contexts: ContextMap) -> Iterator[Finding]:
    statement = parse(sent.shape)
    joined = touched(statement.reads | statement.writes, contexts)
    if len(joined) < 2 or not statement.reads:
        return
    # A report's own context depends on all that it joins; they do not depend on each other for its sake.
    by = _claimed(sent.context, contexts)
    home = by or next(iter(joined))
    for there in joined:
        if there == home:
            continue
        tables = tuple(table for tables in joined.values() for table in tables)
        yield Finding(
            rule="SFA201",
            source=home,
            target=there,
            message=f"{sent.function} joins {', '.join(tables)}",
            place=sent.place,
            tables=tables,
            weight=sent.count,
            detail={
                "shape": sent.shape,
                "on": [[".".join(a), ".".join(b)] for a, b in sorted(statement.joins) if {a[0], b[0]} <= set(tables)],
                "by": by,
                "key": sent.function,
            },
        )


def _claimed(context: str | None, contexts: ContextMap) -> str | None:
    """The context whose code it is; None for a framework's and what no context claims: that never leaves."""
    return None if context is None or contexts.is_framework(context) else context


def of_transaction(written: Written, contexts: ContextMap) -> Iterator[Finding]:
    """SFA202, once for each other context that it writes."""
    wrote = touched(frozenset(written.tables), contexts)
    if not written.function or len(wrote) < 2:
        return  # a test's own arrangement, or a shell's
    by = _claimed(written.context, contexts)
    home = by if by in wrote else next(iter(wrote))
    for there in wrote:
        if there == home:
            continue
        yield Finding(
            rule="SFA202",
            source=home,
            target=there,
            message=f"{written.function} writes {', '.join(written.tables)} in one transaction",
            place=written.place,
            tables=written.tables,
            weight=written.count,
            detail={"entry": written.function, "contexts": list(wrote), "by": by, "key": written.function},
        )


def _foreign(sent: Sent, contexts: ContextMap) -> Iterator[Finding]:
    here = _claimed(sent.context, contexts)
    if here is None:
        return
    statement = parse(sent.shape)
    for there, tables in touched(statement.writes, contexts).items():
        if there != here:
            yield Finding(
                rule="SFA203",
                source=here,
                target=there,
                message=f"{sent.function} writes {', '.join(tables)}",
                place=sent.place,
                tables=tuple(tables),
                weight=sent.count,
                detail={"shape": sent.shape, "key": sent.function},
            )
    if statement.writes:
        return
    for there, tables in touched(statement.reads, contexts).items():
        if there == here:
            continue
        loop = sent.most >= MANY
        yield Finding(
            rule="SFA204" if loop else "SFA205",
            source=here,
            target=there,
            message=f"{sent.function} reads {', '.join(tables)}"
            + (f" {sent.most} times in one request: as many calls after the cut" if loop else ""),
            place=sent.place,
            tables=tuple(tables),
            weight=sent.count,
            detail={"shape": sent.shape, "most": sent.most, "key": sent.function},
        )
