"""A sheet as one HTML file: no script, no request to anywhere, under a megabyte."""

import re
from collections.abc import Iterator
from html import escape

from migration_tools.reports.letters import printable
from migration_tools.reports.sheet import Case, Sheet, Table
from migration_tools.reports.style_sheet import STYLE

BYTES_AT_MOST = 800_000
LONGEST_CELL = 400
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# An entity, as escaping makes it, has none of these.
_JOINT = re.compile(r"([._/:])(?=\w)")
_STYLE = """
.checks{margin:2rem 0 0;padding:0;list-style:none;border:1px solid var(--line);border-radius:8px;background:var(--card)}
.checks li{padding:.55rem .9rem}.checks li+li{border-top:1px solid var(--line)}
.checks b{display:inline-block;width:5rem;font-weight:500}
.checks .good b{color:var(--ok)}.checks .wrong b{color:var(--bad)}.checks .idle b{color:var(--soft)}
.checks small{display:block;margin-left:5rem;color:var(--soft);overflow-wrap:anywhere}
section h2{display:block;margin:0 0 .5rem}section tbody tr{border-top:1px solid var(--line)}
td{overflow-wrap:break-word}
"""


def render_html(sheet: Sheet) -> str:
    """Render as a self-contained page; what does not fit is counted, and is in the JSON form."""
    return "".join(_page(sheet))


def _page(sheet: Sheet) -> Iterator[str]:
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{_text(sheet.verdict)} · {_text(sheet.title)}</title><style>{STYLE}{_STYLE}</style></head><body>"
        f'<header class="{"equal" if sheet.good else "unequal"}"><p class=eyebrow>{_text(sheet.title)}</p>'
        f"<h1>{_text(sheet.verdict)}</h1><p class=lede>{_text(sheet.circumstances)}</p></header><main>"
    )
    budget = BYTES_AT_MOST
    if sheet.cases:
        yield "<ul class=checks>"
        for case in sheet.cases:
            drawn = _case(case)
            budget -= len(drawn.encode())
            if budget > 0:
                yield drawn
        yield "</ul>"
    for table in sheet.tables:
        drawn = _table(table, budget)
        budget -= len(drawn.encode())
        yield drawn
    yield "</main><footer>"
    yield " ".join(map(_text, [*sheet.notes, "django-strangler."]))
    yield "</footer></body></html>\n"


def _case(case: Case) -> str:
    name, mark = ("wrong", "wrong") if case.wrong else ("idle", "skipped") if case.skipped else ("good", "holds")
    lines = [each for each in (case.wrong or case.skipped, *case.lines) if each]
    told = "".join(f"<small>{_text(line)}</small>" for line in lines)
    return f"<li class={name}><b>{mark}</b>{_text(case.name)}{told}</li>"


def _table(table: Table, budget: int) -> str:
    heading = f"<section><h2>{_text(table.title)}</h2>"
    if not table.rows:
        return f"{heading}<p class=lede>{_text(table.empty)}</p></section>"
    parts = [
        f'{heading}<div class=scroll tabindex=0 role=region aria-label="{_text(table.title)}"><table><thead><tr>',
        "".join(f"<th scope=col{_number(table, place)}>{_text(cell)}" for place, cell in enumerate(table.head)),
        "</tr></thead><tbody>",
    ]
    shown = 0
    for row in table.rows:
        drawn = "".join(f"<td{_number(table, place)}>{_soft(cell)}" for place, cell in enumerate(row))
        budget -= len(drawn.encode()) + 10
        if budget <= 0:
            break
        parts.append(f"<tr>{drawn}</tr>")
        shown += 1
    parts.append("</tbody></table></div>")
    if shown < len(table.rows):
        parts.append(f"<p class=rest>{len(table.rows) - shown:,} more are in the JSON report.</p>")
    return "".join([*parts, "</section>"])


def _number(table: Table, place: int) -> str:
    return " class=n" if place in table.numbers else ""


def _soft(text: str) -> str:
    """A cell whose long words may be broken behind what joins their parts, and only there."""
    return _JOINT.sub(r"\1<wbr>", _text(text))


def _text(text: str) -> str:
    """Escape for HTML, in content and in quoted attributes."""
    cut = text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"
    return escape(printable(cut), quote=True)
