"""A sheet as JUnit's XML, so that CI shows each thing that was examined as a test."""

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from migration_tools.reports.letters import printable
from migration_tools.reports.sheet import Case, Sheet

SHOWN_AT_MOST = 50


def render_junit(sheet: Sheet) -> str:
    """One suite, a test case for each case of the sheet; at most so many lines of a case are named."""
    return "\n".join(_lines(sheet)) + "\n"


def _lines(sheet: Sheet) -> Iterator[str]:
    failures = sum(1 for case in sheet.cases if case.wrong)
    skipped = sum(1 for case in sheet.cases if case.skipped and not case.wrong)
    counts = (
        f'tests="{len(sheet.cases)}" failures="{failures}" errors="0" skipped="{skipped}" time="{sheet.seconds:.3f}"'
    )
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield f"<testsuites {counts}>"
    yield f"<testsuite name={_attribute(sheet.title)} {counts}>"
    yield "<properties>"
    for name, value in sheet.properties.items():
        yield f"<property name={_attribute(name)} value={_attribute(value)}/>"
    yield "</properties>"
    for case in sheet.cases:
        yield from _case(sheet, case)
    yield f"<system-out>{_text(sheet.circumstances)}</system-out>"
    yield "</testsuite>"
    yield "</testsuites>"


def _case(sheet: Sheet, case: Case) -> Iterator[str]:
    opening = f'<testcase classname={_attribute(case.group or sheet.title)} name={_attribute(case.name)} time="0"'
    if not case.wrong and not case.skipped:
        yield f"{opening}/>"
        return
    yield f"{opening}>"
    if case.wrong:
        yield f'<failure type="differences" message={_attribute(case.wrong)}>'
        yield from map(_text, case.lines[:SHOWN_AT_MOST])
        more = case.more + max(len(case.lines) - SHOWN_AT_MOST, 0)
        if more:
            yield f"… and {more:,} more"
        yield "</failure>"
    else:
        yield f"<skipped message={_attribute(case.skipped)}/>"
    yield "</testcase>"


def _text(value: str) -> str:
    return escape(printable(value))


def _attribute(value: str) -> str:
    return quoteattr(printable(value))
