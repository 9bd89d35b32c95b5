"""The coupling matrix as inline SVG: a row depends on a column, the hotter the dearer; each cell leads to its pair."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import sqrt

CELL, SMALL_CELL = 46, 34
MANY = 20  # contexts, from which on cells are small
GAP = 3
CHARACTER = 7.2
SLANT = 0.72  # column labels stand at 45 degrees: how much of their length is height
LONGEST = 26  # letters of a label; a pointer is told the others
SHRINKS_TO = 0.8  # of its size; where there is less room the map is scrolled, since letters have to be read
# From these heats on a figure is told from its cell by the other of black and white, at 4.5:1 on the way there.
DARK_FROM = {"light": 93, "dark": 66}


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
    longest = min(max((len(name) for name in names), default=0), LONGEST) * CHARACTER
    left, top = longest + 16, longest * SLANT + 26
    cell = CELL if len(names) < MANY else SMALL_CELL
    side = len(names) * cell
    width, height = left + side + longest * SLANT + 8, top + side + 4
    most = max(costs.values(), default=1)
    yield (
        f'<svg class=map role=group aria-label="Coupling of contexts, points by direction" width="{width:.0f}" '
        f'style="min-width:{width * SHRINKS_TO:.0f}px" viewBox="0 0 {width:.0f} {height:.0f}">'
    )
    yield f'<text class=axis x="0" y="{top - 10:.0f}">depends on →</text>'
    for column, name in enumerate(names):
        x = left + column * cell + cell / 2
        yield f'<text transform="translate({x:.0f},{top - 8:.0f}) rotate(-45)">{_label(name)}</text>'
    for row, source in enumerate(names):
        y = top + row * cell
        yield f'<text x="{left - 10:.0f}" y="{y + cell / 2:.0f}" text-anchor="end" dominant-baseline="central">'
        yield f"{_label(source)}</text>"
        for column, target in enumerate(names):
            cost, note = costs.get((source, target), 0), notes.get((source, target), "")
            yield _cell(left + column * cell, y, cell, source, target, sqrt(cost / most) if cost else 0, cost, note)
    yield "</svg>"


def _label(name: str) -> str:
    if len(name) <= LONGEST:
        return escape(name)
    return f"<title>{escape(name)}</title>{escape(name[: LONGEST - 1])}…"


def _cell(x: float, y: float, cell: int, source: str, target: str, share: float, cost: int, note: str) -> str:
    box = f'x="{x + GAP / 2:.1f}" y="{y + GAP / 2:.1f}" width="{cell - GAP}" height="{cell - GAP}"'
    if source == target:
        return f"<rect class=self {box}/>"
    if not cost:
        return f"<rect class=none {box}/>"
    heat = 8 + 92 * share
    told = " ".join(["n", *(f"hot-{scheme}" for scheme, least in DARK_FROM.items() if heat > least)])
    centre = cell / 2
    said = f"{source} depends on {target}: {cost} points"
    return (
        f'<a href="#{anchor(source, target)}" aria-label="{escape(said)}"><rect {box} style="--heat:{heat:.0f}%">'
        f"<title>{escape(note)}</title></rect>"
        f'<text class="{told}" x="{x + centre:.1f}" y="{y + centre:.1f}">{cost}</text></a>'
    )
