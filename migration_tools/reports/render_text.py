"""A sheet as plain lines, and as Markdown."""

from collections.abc import Iterator, Sequence

from migration_tools.reports.letters import plain_markdown, printable
from migration_tools.reports.sheet import Case, Sheet, Table

SHOWN_AT_MOST = 200


def render_text(sheet: Sheet) -> str:
    """For a terminal or a log."""
    return "\n".join(_text(sheet)) + "\n"


def render_markdown(sheet: Sheet) -> str:
    """For a pull request, a ticket or a wiki; no value can become markup."""
    return "\n".join(_markdown(sheet)) + "\n"


def _text(sheet: Sheet) -> Iterator[str]:
    yield f"{sheet.title}: {sheet.verdict}"
    yield f"  {sheet.circumstances}"
    for case in sheet.cases:
        yield f"  {_mark(case):7} {printable(case.name)}{_because(case)}"
        for line in case.lines[:SHOWN_AT_MOST]:
            yield f"          {printable(line)}"
    for table in sheet.tables:
        yield ""
        yield table.title
        yield from (f"  {line}" for line in _columns(table))
    yield from (f"  {note}" for note in sheet.notes)


def _columns(table: Table) -> Iterator[str]:
    if not table.rows:
        yield table.empty
        return
    rows = [[printable(cell) for cell in row] for row in [table.head, *table.rows[:SHOWN_AT_MOST]]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    for row in rows:
        cells = [
            cell.rjust(width) if number in table.numbers else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    if len(table.rows) > SHOWN_AT_MOST:
        yield f"… and {len(table.rows) - SHOWN_AT_MOST:,} more in the JSON report"


def _markdown(sheet: Sheet) -> Iterator[str]:
    yield f"# {plain_markdown(sheet.title)}: {plain_markdown(sheet.verdict)}"
    yield ""
    yield f"{plain_markdown(sheet.circumstances)}."
    yield ""
    for case in sheet.cases:
        yield f"* **{_mark(case)}** {plain_markdown(case.name)}{plain_markdown(_because(case))}"
        yield from (f"  * {plain_markdown(line)}" for line in case.lines[:SHOWN_AT_MOST])
    for table in sheet.tables:
        yield f"\n## {plain_markdown(table.title)}\n"
        if not table.rows:
            yield table.empty
            continue
        yield _pipes(table.head)
        yield _pipes(["---:" if number in table.numbers else "---" for number in range(len(table.head))], raw=True)
        yield from map(_pipes, table.rows[:SHOWN_AT_MOST])
        if len(table.rows) > SHOWN_AT_MOST:
            yield f"\n… and {len(table.rows) - SHOWN_AT_MOST:,} more in the JSON report"
    for note in sheet.notes:
        yield f"\n{plain_markdown(note)}"


def _pipes(cells: Sequence[str], *, raw: bool = False) -> str:
    return f"| {' | '.join(cells if raw else map(plain_markdown, cells))} |"


def _mark(case: Case) -> str:
    return "WRONG" if case.wrong else "skipped" if case.skipped else "ok"


def _because(case: Case) -> str:
    reason = case.wrong or case.skipped
    return f": {printable(reason)}" if reason else ""
