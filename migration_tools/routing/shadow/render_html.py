"""A shadow report as one HTML file: no script, no request to anywhere."""

from collections import Counter
from collections.abc import Iterator
from html import escape

from migration_tools.reports.letters import plural, printable
from migration_tools.reports.style_sheet import STYLE
from migration_tools.routing.shadow.differences import DiffKind
from migration_tools.routing.shadow.render_text import circumstances, rule_verb, skipped, times, verdict
from migration_tools.routing.shadow.report import PlaceResult, RouteResult, RuleResult, ShadowReport

SHOWN_AT_MOST = 300

_COLOURS = {
    DiffKind.STATUS: "lost_update",
    DiffKind.MISSING: "missing",
    DiffKind.EXTRA: "extra",
    DiffKind.CHANGED: "changed",
    DiffKind.TYPE_OR_PRECISION: "precision_or_type",
    DiffKind.ORDER: "orphan",
    DiffKind.WRITE: "bad",
    DiffKind.FAILED: "bad",
    DiffKind.SLOW: "soft",
}
_STYLE = """
.k-same{--kind:var(--ok)}.k-late{--kind:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;margin:.7rem 0 0;padding:0;list-style:none;color:var(--soft)}
.legend i{margin-right:.5em}
.legend b{color:var(--ink);font-weight:500;font-variant-numeric:tabular-nums}
td.state-approved{color:var(--ok)}td.state-rejected{color:var(--bad)}
.overview small{display:block;color:var(--soft)}
.plain h2{display:block;margin:0 0 .4rem}
.plain table{border-top:1px solid var(--line)}
.plain tbody tr{border-top:1px solid var(--line)}
"""


def render_html(report: ShadowReport, *, reveal: bool = False) -> str:
    """Render as a self-contained page."""
    if not reveal:
        report = report.redact()
    return "".join(_page(report))


def _page(report: ShadowReport) -> Iterator[str]:
    title = f"{verdict(report)} · shadow reads of {report.context}"
    colours = "".join(f".k-{kind}{{--kind:var(--{name})}}" for kind, name in _COLOURS.items())
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{_text(title)}</title><style>{STYLE}{_STYLE}{colours}</style></head><body>"
    )
    yield from _header(report)
    yield "<main>"
    yield from _overview(report)
    shown = 0
    for route in report.routes:
        places = list(report.places_of(route.pattern))[: SHOWN_AT_MOST - shown]
        if places:
            shown += len(places)
            yield from _section(route, places, report)
    yield from _noise(report)
    yield from _rules(report.rules)
    yield "</main><footer>"
    yield "Values are redacted: type and size stand in their place. " if report.redacted else ""
    yield f"django-strangler, {_text(report.at)}.</footer></body></html>\n"


def _header(report: ShadowReport) -> Iterator[str]:
    same = report.compared - report.different - report.late
    yield (
        f'<header class="{"equal" if report.clean else "unequal"}">'
        f"<p class=eyebrow>Shadow reads of {_text(report.context)}</p>"
        f"<h1>{_text(verdict(report))}</h1><p class=lede>{_text(circumstances(report))}</p>"
    )
    if report.compared:
        parts = {"same": same, "late": report.late, "changed": report.different}
        yield _bar(parts, report.compared, f"{same} alike, {report.late} late, {report.different} different")
        names = {"same": "alike", "late": "alike when asked again", "changed": "different"}
        yield "<ul class=legend>"
        for name, count in parts.items():
            yield f"<li class=k-{name}><i></i><b>{count:,}</b> {names[name]}</li>"
        yield "</ul>"
    yield "</header>"


def _overview(report: ShadowReport) -> Iterator[str]:
    yield (
        '<div class=scroll tabindex=0 role=region aria-label="Routes"><table class=overview>'
        "<thead><tr><th scope=col>Route<th scope=col class=n>Compared<th scope=col class=n>Different"
        "<th scope=col class=n>Late<th scope=col class=n>Dropped<th scope=col><span class=unseen>Share by class</span>"
        "</tr></thead><tbody>"
    )
    for number, route in enumerate(report.routes):
        places = list(report.places_of(route.pattern))
        name = _text(route.pattern)
        linked = f'<a href="#r{_anchor(route.pattern)}">{name}</a>' if places else name
        skips = f"<small>{_text(skipped(route))}</small>" if route.skips else ""
        different = f"{route.different:,}" if places or route.different else "<span class=ok>alike</span>"
        yield (
            f"<tr{' class=first' if not number else ''}><th scope=row><code>{linked}</code>{skips}"
            f"<td class=n>{route.compared:,}<td class=n>{different}<td class=n>{route.late:,}"
            f"<td class=n>{route.dropped:,}<td class=bar>{_route_bar(route, places)}</tr>"
        )
    yield "</tbody></table></div>"


def _route_bar(route: RouteResult, places: list[PlaceResult]) -> str:
    """Alike, late, and the different reads split by the classes found in them."""
    if not route.compared:
        return ""
    classes = Counter[str]()
    for place in places:
        classes[str(place.kind)] += place.count
    total = classes.total() or 1
    parts: dict[str, float] = {"same": route.compared - route.different - route.late, "late": route.late}
    split = {name: route.different * count / total for name, count in classes.items()}
    told = ", ".join(f"{DiffKind(name).label} {count}" for name, count in classes.items()) or "alike"
    return _bar({**parts, **(split or {"changed": route.different})}, route.compared, f"{route.pattern}: {told}")


def _section(route: RouteResult, places: list[PlaceResult], report: ShadowReport) -> Iterator[str]:
    yield (
        f'<section class=table id="r{_anchor(route.pattern)}"><h2><code>{_text(route.pattern)}</code></h2>'
        f"<p class=count>{plural(len(places), 'place')}</p><div class=list>"
    )
    for number, place in enumerate(places):
        yield (
            f'<details class="difference k-{place.kind}"{" open" if not number else ""}><summary>'
            f"<span class=kind><i></i>{_text(place.kind.label)}</span>"
            f"<code class=key>{_text(place.path)}</code>"
            f"<span class=columns>{_text(times(place, report))}</span></summary>"
            f"<div class=body><p>{_text(place.kind.explanation)} Found {_text(times(place, report))}, first at "
            f"{_text(place.first_seen)}, last at {_text(place.last_seen)}.</p>"
        )
        yield from _samples(place)
        yield "</div></details>"
    yield "</div></section>"


def _samples(place: PlaceResult) -> Iterator[str]:
    if not place.samples:
        return
    yield (
        "<div class=scroll><table class=fields><thead><tr><th scope=col>Example<th scope=col>Owner"
        "<th scope=col>Candidate</tr></thead><tbody>"
    )
    for number, sample in enumerate(place.samples, 1):
        yield (
            f"<tr><th scope=row>{number}<td><span class=shape>{_text(sample['owner'])}</span>"
            f"<td><span class=shape>{_text(sample['candidate'])}</span></tr>"
        )
    yield "</tbody></table></div>"


def _noise(report: ShadowReport) -> Iterator[str]:
    places = [each for each in report.places if each.noise and not each.open]
    if not places:
        return
    yield (
        "<section class=plain><h2>Noise</h2><p class=lede>Here the owner differs from itself, so nothing is said of "
        "the candidate.</p><table><tbody>"
    )
    for each in places[:SHOWN_AT_MOST]:
        yield (
            f"<tr><td><code>{_text(each.path)}</code><td>{_text(each.kind.label)}<td><code>{_text(each.pattern)}"
            f"</code><td class=n>{each.noise:,} reads</tr>"
        )
    yield "</tbody></table></section>"


def _rules(rules: list[RuleResult]) -> Iterator[str]:
    if not rules:
        return
    yield (
        "<section class=plain><h2>Rules</h2><div class=scroll><table><thead><tr><th scope=col class=n>Rule"
        "<th scope=col>State<th scope=col>What<th scope=col>Why<th scope=col>Decided</tr></thead><tbody>"
    )
    for rule in rules:
        decided = f"{rule.reason} ({rule.actor})" if rule.reason else ""
        yield (
            f'<tr><td class=n>{rule.number}<td class="state-{_text(rule.state)}">{_text(rule.state)}'
            f"<td>{_text(rule_verb(rule))} at <code>{_text(rule.path)}</code> of "
            f"<code>{_text(rule.pattern or 'every route')}</code><td>{_text(rule.why)}<td>{_text(decided)}</tr>"
        )
    yield "</tbody></table></div></section>"


def _bar(parts: "dict[str, int] | dict[str, float]", whole: int, label: str) -> str:
    """Draw a stacked bar; what occurs at all is seen."""
    widths = {name: max(100 * count / whole, 0.8) for name, count in parts.items() if count > 0}
    scale = min(1.0, 100 / sum(widths.values())) if widths else 1.0
    drawn, at = [], 0.0
    for name, width in widths.items():
        drawn.append(f'<rect class="k-{name}" x="{at:.2f}" width="{width * scale:.2f}" height="1"/>')
        at += width * scale
    return (
        f'<svg role=img aria-label="{_text(label)}" viewBox="0 0 100 1" preserveAspectRatio="none">'
        f"{''.join(drawn)}</svg>"
    )


def _anchor(pattern: str) -> str:
    return escape(pattern.encode().hex(), quote=True)


def _text(text: str) -> str:
    """Escape for HTML, in content and in quoted attributes."""
    return escape(printable(text), quote=True)
