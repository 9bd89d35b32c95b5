"""A verification report as JUnit's XML, so that CI shows each table as a test."""

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from migration_tools.verification.render_text import circumstances, classes, key_text, printable
from migration_tools.verification.report import TableResult, VerificationReport

SHOWN_AT_MOST = 50


def render_junit(report: VerificationReport, *, reveal: bool = False, limit: int = SHOWN_AT_MOST) -> str:
    """Render as one test suite, a test case for each table; at most `limit` differences of a table are named."""
    if not reveal:
        report = report.redact()
    return "\n".join(_lines(report, limit)) + "\n"


def _lines(report: VerificationReport, limit: int) -> Iterator[str]:
    failures = sum(1 for table in report.tables if table.count)
    counts = f'tests="{len(report.tables)}" failures="{failures}" errors="0" skipped="0" time="{report.seconds:.3f}"'
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield f"<testsuites {counts}>"
    yield f"<testsuite name={_attribute(f'verification of {report.context}, {report.direction}')} {counts}>"
    yield "<properties>"
    for name, value in (("version", report.version), ("rows", report.rows), ("position", report.position)):
        yield f'<property name="{name}" value="{value}"/>'
    yield "</properties>"
    for table in report.tables:
        yield from _case(report, table, limit)
    yield f"<system-out>{_text(circumstances(report))}</system-out>"
    yield "</testsuite>"
    yield "</testsuites>"


def _case(report: VerificationReport, table: TableResult, limit: int) -> Iterator[str]:
    name = _attribute(f"{table.source_table} to {table.target_table}")
    opening = f'<testcase classname={_attribute(f"{report.context}.{report.direction}")} name={name} time="0"'
    if not table.count:
        yield f"{opening}/>"
        return
    yield f"{opening}>"
    yield f'<failure type="differences" message={_attribute(f"{table.count} differ: {classes(table.by_class)}")}>'
    for difference in table.differences[:limit]:
        columns = ", ".join(field.column for field in difference.fields)
        yield _text(f"{difference.table} {key_text(difference)} {difference.kind.label} {columns}".rstrip())
    if table.count > limit:
        yield _text(f"… and {table.count - limit:,} more")
    yield "</failure>"
    yield "</testcase>"


def _text(value: str) -> str:
    return escape(printable(value))


def _attribute(value: str) -> str:
    return quoteattr(printable(value))
