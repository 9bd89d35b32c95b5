"""A verification report for a terminal: tables where rich can draw them, plain lines everywhere else."""

import datetime as dt
from collections.abc import Iterator
from typing import TextIO

from migration_tools.reports.letters import plural, printable
from migration_tools.verification.report import (
    Difference,
    FieldDifference,
    TableResult,
    VerificationReport,
    shares,
)

SHOWN_AT_MOST = 20
LONGEST_VALUE = 60

_STYLES = {
    "missing": "red",
    "extra": "magenta",
    "changed": "yellow",
    "lost_update": "bright_red",
    "precision_or_type": "blue",
    "orphan": "cyan",
    "invariant": "bright_magenta",
}


def render_text(report: VerificationReport, *, reveal: bool = False, limit: int = SHOWN_AT_MOST) -> str:
    """Render as plain lines, at most `limit` differences."""
    if not reveal:
        report = report.redact()
    return "\n".join(_lines(report, limit)) + "\n"


def print_report(
    report: VerificationReport, stream: TextIO, *, reveal: bool = False, limit: int = SHOWN_AT_MOST
) -> None:
    """Print to a stream: drawn tables if it is a terminal and rich is installed, plain lines else."""
    if not (stream.isatty() and _draw(report if reveal else report.redact(), stream, limit)):
        stream.write(render_text(report, reveal=reveal, limit=limit))


def verdict(report: VerificationReport) -> str:
    """The result in a few words."""
    if not report.equal:
        return f"{report.differences:,} difference{'' if report.differences == 1 else 's'}"
    return "equal" if report.rows else "equal: no rows on either side"


def circumstances(report: VerificationReport) -> str:
    """How much was compared, where in the stream, when and how long it took."""
    started = dt.datetime.fromtimestamp(report.started, tz=dt.UTC)
    several = f" (the last of {report.snapshots:,} instants)" if report.snapshots > 1 else ""
    return (
        f"{plural(report.rows, 'row')} in {plural(len(report.tables), 'table')}, "
        f"position {report.position:,}{several}, {started:%Y-%m-%d %H:%M:%S} UTC, {report.seconds:.1f} s"
    )


def classes(by_class: dict[str, int]) -> str:
    """Spell the classes with their counts."""
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in by_class.items())


def left_out(shown: int, table: TableResult) -> str:
    """Say how many of a table's differences are not shown, and why; '' when all are."""
    kept = len(table.differences) - shown
    parts = []
    if kept:
        parts.append(f"{kept:,} more in the JSON report")
    if table.truncated:
        parts.append(f"{table.truncated:,} beyond the number kept were only counted")
    return "; ".join(parts)


def displayed(value: str | None, *, redacted: bool) -> str:
    """Make a value visible on one line: NULL and '' apart from texts, which are quoted."""
    if value is None:
        return "NULL"
    if value == "":
        return "''"
    return printable(value) if redacted else f"'{printable(value)}'"


def key_text(difference: Difference) -> str:
    """Spell a row's key."""
    return printable(", ".join(difference.key))


def _lines(report: VerificationReport, limit: int) -> Iterator[str]:
    yield f"verification of {report.context}, {report.direction}: {verdict(report)}"
    yield f"  {circumstances(report)}"
    for table, share in zip(report.tables, shares(report, limit), strict=True):
        yield f"  {_table_line(table)}"
        for difference in table.differences[:share]:
            yield f"    {difference.kind.label}: {printable(difference.table)} {key_text(difference)}"
            for each in difference.fields:
                source, target = (_cut(displayed(v, redacted=report.redacted)) for v in (each.source, each.target))
                yield f"      {printable(each.column)}: source {source}, target {target}{_remark(each)}"
        if rest := left_out(share, table):
            yield f"    {rest}"


def _table_line(table: TableResult) -> str:
    tables = printable(f"{table.source_table} → {table.target_table}")
    names = f"{tables}: {table.rows_source:,} → {table.rows_target:,} rows"
    if not table.count:
        return f"{names}, equal"
    return f"{names}, {plural(table.count, 'difference')} ({classes(table.by_class)})"


def _remark(given: FieldDifference) -> str:
    parts = ([given.note] if given.note else []) + [printable(path) for path in given.paths[:5]]
    if len(given.paths) > 5:
        parts.append(f"{len(given.paths) - 5} more paths")
    return f" ({', '.join(parts)})" if parts else ""


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _draw(report: VerificationReport, stream: TextIO, limit: int) -> bool:
    """Draw with rich; False when it is not installed."""
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    console = Console(file=stream, highlight=False)
    style = "bold green" if report.equal else "bold red"
    console.print(Text.assemble((verdict(report), style), f"  {report.context}, {report.direction}"))
    console.print(Text(circumstances(report), style="dim"))
    overview = Table(box=SIMPLE_HEAD)
    overview.add_column("source")
    overview.add_column("target")
    overview.add_column("rows", justify="right")
    overview.add_column("rows", justify="right")
    overview.add_column("result")
    for table in report.tables:
        result = Text(classes(table.by_class) if table.count else "equal", "red" if table.count else "green")
        overview.add_row(
            Text(table.source_table),
            Text(table.target_table),
            f"{table.rows_source:,}",
            f"{table.rows_target:,}",
            result,
        )
    console.print(overview)
    for table, share in zip(report.tables, shares(report, limit), strict=True):
        if not table.count:
            continue
        detail = Table(box=SIMPLE_HEAD, title=Text(table.target_table, "bold"), title_justify="left")
        for name in ("key", "class", "column", "source", "target", "remark"):
            detail.add_column(name, overflow="fold")
        for difference in table.differences[:share]:
            lead = [
                Text(key_text(difference)),
                Text(difference.kind.label, _STYLES[difference.kind]),
            ]
            if not difference.fields:
                detail.add_row(*lead)
            for each in difference.fields:
                values = (_cut(displayed(v, redacted=report.redacted)) for v in (each.source, each.target))
                remark = _remark(each).strip(" ()")
                detail.add_row(
                    *lead,
                    Text(printable(each.column)),
                    *(Text(value) for value in values),
                    Text(remark, "dim"),
                )
                lead = [Text(), Text()]
        console.print(detail)
        if rest := left_out(share, table):
            console.print(Text(f"  {rest}", "dim"))
    return True
