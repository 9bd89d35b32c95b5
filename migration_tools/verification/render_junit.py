"""A verification report as JUnit's XML, so that CI shows each table as a test."""

from migration_tools.reports import render_junit as junit
from migration_tools.reports.sheet import Case, Sheet
from migration_tools.verification.render_text import circumstances, classes, key_text, verdict
from migration_tools.verification.report import TableResult, VerificationReport


def render_junit(report: VerificationReport, *, reveal: bool = False, limit: int = junit.SHOWN_AT_MOST) -> str:
    """Render as one test suite, a test case for each table; at most `limit` differences of a table are named."""
    if not reveal:
        report = report.redact()
    numbers = {"version": report.version, "rows": report.rows, "position": report.position}
    return junit.render_junit(
        Sheet(
            title=f"verification of {report.context}, {report.direction}",
            verdict=verdict(report),
            good=report.equal,
            circumstances=circumstances(report),
            cases=[_case(report, table, limit) for table in report.tables],
            seconds=report.seconds,
            properties={name: str(value) for name, value in numbers.items()},
        )
    )


def _case(report: VerificationReport, table: TableResult, limit: int) -> Case:
    lines = []
    for difference in table.differences[:limit]:
        columns = ", ".join(field.column for field in difference.fields)
        lines.append(f"{difference.table} {key_text(difference)} {difference.kind.label} {columns}".rstrip())
    return Case(
        name=f"{table.source_table} to {table.target_table}",
        group=f"{report.context}.{report.direction}",
        wrong=f"{table.count} differ: {classes(table.by_class)}" if table.count else "",
        lines=lines,
        more=table.count - len(lines),
    )
