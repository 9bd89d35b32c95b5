"""A verification report as one HTML file: no script, no request to anywhere, under a megabyte."""

from collections.abc import Iterator
from html import escape

from migration_tools.reports.letters import plural, printable
from migration_tools.reports.style_sheet import STYLE
from migration_tools.verification.render_text import circumstances, classes, key_text, left_out, verdict
from migration_tools.verification.report import (
    Difference,
    DifferenceKind,
    FieldDifference,
    TableResult,
    VerificationReport,
    shares,
)
from migration_tools.verification.style_sheet import filter_rules

SHOWN_AT_MOST = 500
DIFFERENCES_BYTES_AT_MOST = 800_000
LONGEST_VALUE = 400
AROUND = 80
"""Characters shown on either side of the part of a long value that differs."""


def render_html(report: VerificationReport, *, reveal: bool = False, limit: int = SHOWN_AT_MOST) -> str:
    """Render as a self-contained page, at most `limit` differences and never more than a megabyte."""
    if not reveal:
        report = report.redact()
    return "".join(_page(report, limit))


def _page(report: VerificationReport, limit: int) -> Iterator[str]:
    title = f"{verdict(report)} · {report.context}, {report.direction}"
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{_text(title)}</title><style>{STYLE}{filter_rules()}</style></head><body>"
    )
    yield from _header(report)
    yield "<main>"
    yield from _overview(report)
    if report.differences:
        yield from _filters(report)
        budget = DIFFERENCES_BYTES_AT_MOST // sum(1 for table in report.tables if table.count)
        for table, share in zip(report.tables, shares(report, limit), strict=True):
            if table.count:
                yield from _section(table, share, budget, redacted=report.redacted)
    yield "</main><footer>"
    if report.redacted and report.differences:
        yield "Values are redacted: type and length stand in their place. "
    yield f"django-strangler, report version {report.version}.</footer></body></html>\n"


def _header(report: VerificationReport) -> Iterator[str]:
    yield (
        f'<header class="{"equal" if report.equal else "unequal"}">'
        f"<p class=eyebrow>Verification of {_text(report.context)}, {_text(report.direction)}</p>"
        f"<h1>{_text(verdict(report))}</h1>"
        f"<p class=lede>{_text(circumstances(report))}</p>"
    )
    if report.differences:
        yield _bar(report.by_class, report.truncated, report.differences, "all differences by class")
    yield "</header>"


def _overview(report: VerificationReport) -> Iterator[str]:
    most = max((table.count for table in report.tables), default=0)
    yield (
        '<div class=scroll tabindex=0 role=region aria-label="Tables"><table class=overview>'
        "<thead><tr><th scope=col>Source<th scope=col>Target<th scope=col class=n>Rows, source"
        "<th scope=col class=n>Rows, target<th scope=col class=n>Differences<th scope=col>"
        "<span class=unseen>Share by class</span></tr></thead><tbody>"
    )
    for number, table in enumerate(report.tables):
        name = _text(table.target_table)
        target = f'<a href="#t{_anchor(table)}">{name}</a>' if table.count else name
        uneven = "" if table.rows_source == table.rows_target else " uneven"
        label = f"differences in {table.target_table}"
        bar = _bar(table.by_class, table.truncated, most, label) if table.count else ""
        result = f"{table.count:,}" if table.count else "<span class=ok>equal</span>"
        yield (
            f"<tr{' class=first' if not number else ''}><th scope=row>{_text(table.source_table)}<td>{target}"
            f'<td class=n>{table.rows_source:,}<td class="n{uneven}">{table.rows_target:,}'
            f"<td class=n>{result}<td class=bar>{bar}</tr>"
        )
    yield "</tbody></table></div>"


def _filters(report: VerificationReport) -> Iterator[str]:
    kept = report.differences - report.truncated
    yield "<fieldset class=filters><legend class=unseen>Show differences of class</legend>"
    yield f"<label><input type=radio name=kind id=only-all checked>all <b>{kept:,}</b></label>"
    for name, count in report.by_class.items():
        kind = DifferenceKind(name)
        yield (
            f'<label class="k-{kind}" title="{_text(kind.explanation)}"><input type=radio name=kind '
            f"id=only-{kind}><i></i>{_text(kind.label)} <b>{count:,}</b></label>"
        )
    yield "</fieldset>"


def _section(table: TableResult, share: int, budget: int, *, redacted: bool) -> Iterator[str]:
    yield (
        f'<section class=table id="t{_anchor(table)}"><h2>{_text(table.source_table)} '
        f"<span>→</span> {_text(table.target_table)}</h2>"
        f"<p class=count>{plural(table.count, 'difference')}</p><div class=list>"
    )
    shown = 0
    for difference in table.differences[:share]:
        text = "".join(_difference(difference, redacted=redacted, open_=not shown))
        budget -= len(text.encode(errors="backslashreplace"))
        if budget < 0:
            break
        shown += 1
        yield text
    yield "</div>"
    if rest := left_out(shown, table):
        yield f"<p class=rest>Shown: {shown:,} of {plural(table.count, 'difference')}; {rest}.</p>"
    yield "</section>"


def _difference(difference: Difference, *, redacted: bool, open_: bool) -> Iterator[str]:
    columns = ", ".join(f"{each.column} ({each.note})" if each.note else each.column for each in difference.fields)
    yield (
        f'<details class="difference k-{difference.kind}"{" open" if open_ else ""}><summary>'
        f"<span class=kind><i></i>{_text(difference.kind.label)}</span>"
        f"<code class=key>{_text(key_text(difference)[:LONGEST_VALUE])}</code>"
        f"<span class=columns>{_text(columns[:LONGEST_VALUE])}</span></summary>"
        f"<div class=body><p>{_text(difference.kind.explanation)}</p>"
    )
    if difference.fields:
        yield (
            '<div class=scroll tabindex=0 role=region aria-label="Fields"><table class=fields><thead><tr>'
            "<th scope=col>Column<th scope=col>Source<th scope=col>Target</tr></thead><tbody>"
        )
        for each in difference.fields:
            yield _field(each, redacted=redacted)
        yield "</tbody></table></div>"
    yield "</div></details>"


def _field(given: FieldDifference, *, redacted: bool) -> str:
    source, target = _side_by_side(given.source, given.target, redacted=redacted)
    note = f"<small>{_text(given.note)}</small>" if given.note else ""
    paths = "".join(f"<code>{_text(path[:LONGEST_VALUE])}</code>" for path in given.paths)
    kind = f" <small>{_text(given.type)}</small>" if given.type else ""
    paths = f"<div class=paths>{paths}</div>" if paths else ""
    remark = f"<tr class=remark><td colspan=2>{note}{paths}</tr>" if note or paths else ""
    span = " rowspan=2" if remark else ""
    return f"<tr><th scope=row{span}>{_text(given.column)}{kind}<td>{source}<td>{target}</tr>{remark}"


def _side_by_side(source: str | None, target: str | None, *, redacted: bool) -> tuple[str, str]:
    """Both values, with the part that differs marked."""
    if redacted or not source or not target:
        return _whole(source, redacted=redacted), _whole(target, redacted=redacted)
    start = next(
        (n for n, (a, b) in enumerate(zip(source, target, strict=False)) if a != b),
        min(len(source), len(target)),
    )
    rest = min(len(source), len(target)) - start
    end = next((n for n in range(rest) if source[-1 - n] != target[-1 - n]), rest)
    return _marked(source, start, len(source) - end), _marked(target, start, len(target) - end)


def _marked(value: str, start: int, end: int) -> str:
    before, differing, after = value[:start], value[start:end], value[end:]
    if len(value) > LONGEST_VALUE:
        before = f"…{before[-AROUND:]}" if len(before) > AROUND else before
        after = f"{after[:AROUND]}…" if len(after) > AROUND else after
        if len(differing) > LONGEST_VALUE:
            differing = f"{differing[:LONGEST_VALUE]}…"
    mark = f"<mark>{_text(differing)}</mark>" if differing else ""
    return f"<code>{_text(before)}{mark}{_text(after)}</code>"


def _whole(value: str | None, *, redacted: bool) -> str:
    if value is None:
        return "<span class=null>NULL</span>"
    if value == "":
        return "<span class=null>'' (empty)</span>"
    cut = value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}…"
    return f"<span class=shape>{_text(cut)}</span>" if redacted else f"<code>{_text(cut)}</code>"


def _bar(by_class: dict[str, int], unclassed: int, whole: int, label: str) -> str:
    """Draw a stacked bar of classes and of what was not classed; what occurs at all is seen."""
    told = classes(by_class | ({"not classed": unclassed} if unclassed else {}))
    widths = {name: max(100 * count / whole, 0.8) for name, count in by_class.items()}
    if unclassed:
        widths["rest"] = max(100 * unclassed / whole, 0.8)
    scale = min(1.0, 100 / sum(widths.values()))
    parts, at = [], 0.0
    for name, width in widths.items():
        parts.append(f'<rect class="k-{name}" x="{at:.2f}" width="{width * scale:.2f}" height="1"/>')
        at += width * scale
    return (
        f'<svg role=img aria-label="{_text(f"{label}: {told}")}" viewBox="0 0 100 1" '
        f'preserveAspectRatio="none">{"".join(parts)}</svg>'
    )


def _anchor(table: TableResult) -> str:
    return escape(table.projection.encode().hex(), quote=True)


def _text(text: str) -> str:
    """Escape for HTML, in content and in quoted attributes."""
    return escape(printable(text), quote=True)
