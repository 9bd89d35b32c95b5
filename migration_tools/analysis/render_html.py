"""The analysis as one HTML file: no script, no request to anywhere, under a megabyte."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from migration_tools.analysis.findings import Finding
from migration_tools.analysis.heat_map import anchor, draw, order_by_clusters
from migration_tools.analysis.plan import PARTS, cost_of
from migration_tools.analysis.render_text import headline, orders_told, size
from migration_tools.analysis.report import VERSION, Analysis, Cut, Pair, Work, by_rule
from migration_tools.analysis.rules import RULES
from migration_tools.analysis.style_sheet import STYLE

FINDINGS_BYTES_AT_MOST = 700_000
LISTED_AT_MOST = 30


def render_html(analysis: Analysis) -> str:
    """Render as a self-contained page; the longest lists are cut and say so."""
    return "".join(_page(analysis))


def _page(analysis: Analysis) -> Iterator[str]:
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(headline(analysis))} · {escape(analysis.project)}</title><style>{STYLE}</style></head><body>"
    )
    yield from _header(analysis)
    yield "<main>"
    yield from _matrix(analysis)
    yield from _cuts(analysis)
    yield from _contexts(analysis)
    yield from _pairs(analysis)
    yield from _alone(analysis)
    yield f"</main><footer>django-strangler, analysis version {VERSION}, {escape(analysis.made_at)}.</footer>"
    yield "</body></html>\n"


def _header(analysis: Analysis) -> Iterator[str]:
    verdict = analysis.verdict
    yield (
        f'<header class="{escape(verdict.answer)}"><p class=eyebrow>Where to cut {escape(analysis.project)}</p>'
        f"<h1>{escape(headline(analysis))}</h1><ul class=reasons>"
    )
    for reason in verdict.reasons:
        yield f"<li>{escape(reason)}</li>"
    if analysis.what_if:
        yield f"<li>what if: {escape(', '.join(analysis.what_if))} were one context</li>"
    yield "</ul><ul class=figures>"
    counts = analysis.counted()
    shown = {each.name for each in analysis.shown}
    crossing = [
        each for each in analysis.findings if each.source != each.target and {each.source, each.target} <= shown
    ]
    for figure, label in (
        (sum(len(each.tables) > 0 for each in analysis.shown), "contexts with tables"),
        (sum(len(each.tables) for each in analysis.shown), "tables"),
        (sum(each.rule in ("SFA101", "SFA103") for each in crossing), "crossing keys"),
        (counts.get("SFA201", 0), "crossing JOINs"),
        (len({each.detail.get("entry") for each in analysis.findings if each.rule == "SFA202"}), "sagas needed"),
    ):
        yield f"<li><b>{figure:,}</b><span>{label}</span></li>"
    yield f"</ul><p class=ground>It stands on {escape(', '.join(analysis.sources))}.</p></header>"


def _matrix(analysis: Analysis) -> Iterator[str]:
    names = order_by_clusters([each.name for each in analysis.shown], analysis.clusters)
    grouped: dict[tuple[str, str], list[Finding]] = {}
    for finding in analysis.findings:
        if finding.source != finding.target and finding.source in names and finding.target in names:
            grouped.setdefault((finding.source, finding.target), []).append(finding)
    costs = {pair: sum(cost_of(found).values()) for pair, found in grouped.items()}
    notes = {pair: f"{pair[0]} depends on {pair[1]}: {_summary(found)}" for pair, found in grouped.items()}
    yield "<h2>Coupling</h2><p class=note>A row depends on a column. Points: what it costs to take the two apart.</p>"
    yield f'<div class=scroll tabindex=0 role=region aria-label="Coupling matrix">{draw(names, costs, notes)}</div>'
    yield "<p class=legend><span>cheap</span><span class=scale></span><span>dear</span></p>"
    together = [each for each in analysis.clusters if len(each) > 1]
    if together:
        yield "<p class=note>Hang together more than with the rest:</p><ul class=groups>"
        yield from (f"<li>{escape(' + '.join(group))}</li>" for group in together)
        yield "</ul>"


def _summary(found: Sequence[Finding]) -> str:
    counts: dict[str, int] = {}
    for finding in found:
        counts[finding.of.name] = counts.get(finding.of.name, 0) + 1
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda each: -each[1]))


def _cuts(analysis: Analysis) -> Iterator[str]:
    most = max((cut.cost for cut in analysis.plan), default=1) or 1
    yield (
        "<h2>Order of cuts</h2><p class=note>At each step, of those whose tables no code that is still there writes or "
        "joins, the context that costs least, what is out already not counted again.</p><p class=legend>"
    )
    for part in PARTS:
        yield f'<span class="{part}"><i></i>{part}</span>'
    yield (
        '</p><div class=scroll tabindex=0 role=region aria-label="Order of cuts"><table><thead><tr>'
        "<th scope=col>Context<th scope=col class=n>Cost at its step<th scope=col class=n>Cost now<th scope=col>By part"
        "<th scope=col class=n>Sagas<th scope=col class=n>Read models<th scope=col class=n>Contracts"
        "<th scope=col class=n>Loose keys<th scope=col class=n>Rows<th scope=col class=n>Size"
        "<th scope=col class=n>Written/s</tr></thead><tbody>"
    )
    for cut in analysis.plan:
        yield (
            f"<tr><th scope=row>{cut.step}. {escape(cut.context)}<td class=n>{cut.cost_then}<td class=n>{cut.cost}"
            f"<td class=bar>{_bar(cut.parts, most)}<td class=n>{len(cut.sagas)}<td class=n>{len(cut.projections)}"
            f"<td class=n>{len(cut.contracts)}<td class=n>{len(cut.loose_keys)}<td class=n>{cut.rows:,}"
            f"<td class=n>{size(cut.bytes)}<td class=n>{cut.writes_per_second:.2f}</tr>"
        )
    yield "</tbody></table></div>"
    if told := orders_told(analysis):
        yield f"<ul class=groups>{''.join(f'<li>{escape(sentence)}</li>' for sentence in told)}</ul>"
    for cut in analysis.plan:
        yield from _needs(cut)


def _needs_of(work: Work) -> dict[str, tuple[str, ...]]:
    """What has to be built, by kind, where there is any."""
    needs = {
        "Sagas": work.sagas,
        "Read models": work.projections,
        "Contracts": work.contracts,
        "Loose keys": work.loose_keys,
    }
    return {what: items for what, items in needs.items() if items}


def _told(work: Work) -> str:
    return ", ".join(f"{what.lower()} {len(items)}" for what, items in _needs_of(work).items())


def _needs(cut: Cut) -> Iterator[str]:
    told = _told(cut)
    if not told:
        return
    yield (
        f"<details><summary><b>{escape(cut.context)}</b><span class=what>to build: {told}</span>"
        f"<span class=points>{cut.cost}</span></summary><div class=body>"
    )
    for what, items in _needs_of(cut).items():
        yield f"<h3>{what}</h3><ul>"
        yield "".join(f"<li><code>{escape(item)}</code></li>" for item in items[:LISTED_AT_MOST])
        if len(items) > LISTED_AT_MOST:
            yield f"<li>… and {len(items) - LISTED_AT_MOST} more</li>"
        yield "</ul>"
    yield "</div></details>"


def _contexts(analysis: Analysis) -> Iterator[str]:
    yield (
        '<h2>Contexts</h2><div class=scroll tabindex=0 role=region aria-label="Contexts"><table><thead><tr>'
        "<th scope=col>Context<th scope=col>Owner<th scope=col>Team<th scope=col>Store<th scope=col class=n>Tables"
        "<th scope=col class=n>Rows<th scope=col class=n>Size<th scope=col class=n>Scans<th scope=col class=n>Written"
        "<th scope=col class=n>Written/s</tr></thead><tbody>"
    )
    for each in analysis.shown:
        yield (
            f"<tr><th scope=row>{escape(each.name)}<td>{escape(each.owner or '-')}<td>{escape(each.team or '-')}"
            f"<td>{escape(each.store)}<td class=n>{len(each.tables)}<td class=n>{each.rows:,}"
            f"<td class=n>{size(each.bytes)}<td class=n>{each.scans:,}<td class=n>{each.written:,}"
            f"<td class=n>{each.writes_per_second:.2f}</tr>"
        )
    yield "</tbody></table></div>"


def _pairs(analysis: Analysis) -> Iterator[str]:
    yield "<h2>Pairs</h2><p class=note>The dearest first, with every place.</p>"
    budget = FINDINGS_BYTES_AT_MOST
    for pair in analysis.pairs:
        found = [each for each in analysis.findings if {each.source, each.target} == set(pair.contexts)]
        text = "".join(_pair(pair, found, LISTED_AT_MOST if budget > 0 else 0))
        budget -= len(text.encode())
        yield text


def _alone(analysis: Analysis) -> Iterator[str]:
    """What concerns one context by itself: where the tracer is blind, and what only the database has seen of it."""
    found = [each for each in analysis.findings if each.source == each.target]
    if not found:
        return
    yield "<h2>Unseen</h2><p class=note>Calls past the tracer, and statements that the trace does not have.</p>"
    for rule, each in by_rule(found).items():
        yield f"<details><summary><b>{RULES[rule].name}</b><span class=what>{escape(RULES[rule].remedy)}</span>"
        yield f"<span class=points>{len(each)}</span></summary><div class=body><ul>"
        yield from _listed(each, LISTED_AT_MOST)
        yield "</ul></div></details>"


def _listed(found: Sequence[Finding], most: int) -> Iterator[str]:
    for finding in found[:most]:
        yield f"<li>{escape(finding.message[:300])}<br><code>{escape(str(finding.place))}</code></li>"
    if len(found) > most:
        yield f"<li>… and {len(found) - most} more; the JSON form has all</li>"


def _pair(pair: Pair, found: Sequence[Finding], most: int) -> Iterator[str]:
    one, other = pair.contexts
    yield (
        f'<details id="{anchor(one, other)}"><summary><b>{escape(one)} ↔ {escape(other)}</b>'
        f"<span class=what>{escape(_summary(found))}</span><span class=points>{pair.cost}</span></summary>"
        f"<div class=body><p class=note>To build: {_told(pair) or 'nothing of its own'}. The tables that it names: "
        f"{pair.rows:,} rows, {size(pair.bytes)}, {pair.writes_per_second:.2f} written a second.</p>"
    )
    for rule, each in by_rule(found).items():
        yield f"<h3>{RULES[rule].name} <small>{rule} · {len(each)}</small></h3>"
        yield f"<p class=remedy>{escape(RULES[rule].remedy)}</p><ul>"
        yield from _listed(each, most)
        yield "</ul>"
    yield "</div></details>"


def _bar(parts: Mapping[str, int], most: int) -> str:
    drawn, at = [], 0.0
    for part in PARTS:
        width = 100 * parts[part] / most
        if width:
            title = f"<title>{part}: {parts[part]}</title>"
            drawn.append(f'<rect class="{part}" x="{at:.2f}" width="{width:.2f}" height="1">{title}</rect>')
        at += width
    told = ", ".join(f"{part} {parts[part]}" for part in PARTS if parts[part])
    return f'<svg role=img aria-label="{told}" viewBox="0 0 100 1" preserveAspectRatio="none">{"".join(drawn)}</svg>'
