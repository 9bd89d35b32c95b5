"""The coupling matrix as inline SVG: a row depends on a column, the hotter the dearer; each cell leads to its pair."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import sqrt

CELL = 46
GAP = 3
CHARACTER = 7.2
SLANT = 0.72  # column labels stand at 45 degrees: how much of their length is height


def order_by_clusters(names: Sequence[str], clusters: Sequence[Sequence[str]]) -> list[str]:
    """Contexts that hang together stand side by side, so that their cells gather along the diagonal."""
    placed = [name for cluster in clusters for name in cluster if name in names]
    return [*placed, *(name for name in names if name not in placed)]


def draw(names: Sequence[str], costs: Mapping[tuple[str, str], int], notes: Mapping[tuple[str, str], str]) -> str:
    """Draw the matrix. `notes` are what a pointer on a cell is told."""
    return "".join(_draw(names, costs, notes))


def anchor(one: str, other: str) -> str:
    """The id of a pair's section, alike in both directions."""
    return "p" + "-".join(sorted((one.encode().hex(), other.encode().hex())))


def _draw(
    names: Sequence[str], costs: Mapping[tuple[str, str], int], notes: Mapping[tuple[str, str], str]
) -> Iterator[str]:
    longest = max((len(name) for name in names), default=0) * CHARACTER
    left, top = longest + 16, longest * SLANT + 26
    side = len(names) * CELL
    width, height = left + side + longest * SLANT + 8, top + side + 4
    most = max(costs.values(), default=1)
    yield (
        f'<svg class=map role=img aria-label="Coupling of contexts, points by direction" width="{width:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">'
    )
    yield f'<text class=axis x="0" y="{top - 10:.0f}">depends on →</text>'
    for column, name in enumerate(names):
        x = left + column * CELL + CELL / 2
        yield f'<text transform="translate({x:.0f},{top - 8:.0f}) rotate(-45)">{escape(name)}</text>'
    for row, source in enumerate(names):
        y = top + row * CELL
        yield f'<text x="{left - 10:.0f}" y="{y + CELL / 2:.0f}" text-anchor="end" dominant-baseline="central">'
        yield f"{escape(source)}</text>"
        for column, target in enumerate(names):
            yield _cell(left + column * CELL, y, source, target, costs.get((source, target), 0), most, notes)
    yield "</svg>"


def _cell(
    x: float, y: float, source: str, target: str, cost: int, most: int, notes: Mapping[tuple[str, str], str]
) -> str:
    box = f'x="{x + GAP / 2:.1f}" y="{y + GAP / 2:.1f}" width="{CELL - GAP}" height="{CELL - GAP}"'
    if source == target:
        return f"<rect class=self {box}/>"
    if not cost:
        return f"<rect class=none {box}/>"
    heat = 8 + 92 * sqrt(cost / most)
    title = escape(notes.get((source, target), ""))
    centre = CELL / 2
    return (
        f'<a href="#{anchor(source, target)}"><rect {box} style="--heat:{heat:.0f}%"><title>{title}</title></rect>'
        f'<text class="n{" hot" if heat > 60 else ""}" x="{x + centre:.1f}" y="{y + centre:.1f}">{cost}</text></a>'
    )
