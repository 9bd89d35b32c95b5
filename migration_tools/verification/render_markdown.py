"""A verification report in Markdown, for pull requests, tickets and chat."""

import re
from collections.abc import Iterator

from migration_tools.reports.letters import printable
from migration_tools.verification.render_text import circumstances, classes, displayed, key_text, left_out, verdict
from migration_tools.verification.report import Difference, TableResult, VerificationReport, shares

SHOWN_AT_MOST = 200
LONGEST_VALUE = 200

_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")


def render_markdown(report: VerificationReport, *, reveal: bool = False, limit: int = SHOWN_AT_MOST) -> str:
    """Render as Markdown (GitHub's tables), at most `limit` differences; no value can become markup."""
    if not reveal:
        report = report.redact()
    return "\n".join(_lines(report, limit)) + "\n"


def _lines(report: VerificationReport, limit: int) -> Iterator[str]:
    yield f"# Verification of {_code(report.context)}, {report.direction}: {verdict(report)}"
    yield ""
    yield f"{circumstances(report)}."
    if report.redacted:
        yield "Values are redacted: type and length are shown in their place."
    yield ""
    yield "| Source | Target | Rows, source | Rows, target | Result |"
    yield "|---|---|---:|---:|---|"
    for table in report.tables:
        result = f"**{table.count:,}**: {classes(table.by_class)}" if table.count else "equal"
        yield (
            f"| {_code(table.source_table)} | {_code(table.target_table)} "
            f"| {table.rows_source:,} | {table.rows_target:,} | {result} |"
        )
    for table, share in zip(report.tables, shares(report, limit), strict=True):
        if table.count:
            yield from _table(table, share, redacted=report.redacted)


def _table(table: TableResult, share: int, *, redacted: bool) -> Iterator[str]:
    yield ""
    yield f"## {_code(table.source_table)} → {_code(table.target_table)}"
    yield ""
    if share:
        yield "| Key | Class | Column | Source | Target | Remark |"
        yield "|---|---|---|---|---|---|"
        for difference in table.differences[:share]:
            yield from _rows(difference, redacted=redacted)
    if rest := left_out(share, table):
        yield ""
        yield f"{rest}."


def _rows(difference: Difference, *, redacted: bool) -> Iterator[str]:
    lead = f"| {_code(key_text(difference))} | {difference.kind.label} "
    if not difference.fields:
        yield f"{lead}| | | | {difference.kind.explanation} |"
    for each in difference.fields:
        values = (_code(_cut(displayed(value, redacted=redacted))) for value in (each.source, each.target))
        remark = ", ".join([*([each.note] if each.note else []), *map(_code, each.paths)])
        yield f"{lead}| {_code(each.column)} | {' | '.join(values)} | {remark} |"
        lead = "| | "


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _code(text: str) -> str:
    """Quote a text as code inside a table: nothing in it is markup."""
    text = printable(text)
    if not text:
        return ""
    if "`" in text or "|" in text:
        return f"<code>{_PUNCTUATION.sub(lambda found: f'&#{ord(found[0])};', text)}</code>"
    # CommonMark takes one space off both ends of a code span.
    pad = " " if text != text.strip() else ""
    return f"`{pad}{text}{pad}`"
