"""A report in plain text, for a terminal and for Markdown: the same sections, tables drawn by either."""

from collections.abc import Callable, Iterator, Sequence

from migration_tools.analysis.plan import PARTS
from migration_tools.analysis.report import Analysis, Cut, Work, by_rule
from migration_tools.analysis.rules import RULES
from migration_tools.reports.letters import printable

SHOWN_AT_MOST = 40
ANSWERS = {
    "stay": "Stay a modular monolith",
    "prepare": "Prepare before you cut",
    "cut": "Cut",
}
WORK = (*PARTS, "sagas", "read models", "contracts", "loose keys", "rows", "size", "written/s")
Table = Callable[[Sequence[str], Sequence[Sequence[str]]], Iterator[str]]


def headline(analysis: Analysis) -> str:
    """The verdict in a few words."""
    answer = ANSWERS[analysis.verdict.answer]
    if analysis.verdict.answer == "stay":
        return answer
    return f"{answer}: {analysis.verdict.first} first"


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def orders_told(analysis: Analysis) -> list[str]:
    """Why contexts leave when they do, where it is not for their cost: a sentence each."""
    return [f"{cut.context} leaves {'; and '.join(cut.because)}" for cut in analysis.plan if cut.because]


def render_text(analysis: Analysis) -> str:
    """For a terminal."""
    lines = _lines(analysis, heading=lambda text: ["", text, "-" * len(text)], table=_columns)
    return "\n".join(map(printable, lines)) + "\n"


def render_markdown(analysis: Analysis) -> str:
    """For a page or a merge request."""
    lines = _lines(analysis, heading=lambda text: ["", f"## {text}", ""], table=_pipes)
    return "\n".join(map(printable, lines)) + "\n"


def _lines(analysis: Analysis, heading: Callable[[str], list[str]], table: Table) -> Iterator[str]:
    yield f"# {headline(analysis)}" if table is _pipes else headline(analysis)
    yield ""
    for reason in analysis.verdict.reasons:
        yield f"* {reason}"
    yield f"* this stands on {', '.join(analysis.sources)}"
    if analysis.what_if:
        yield f"* what if: {', '.join(analysis.what_if)} were one context"
    yield from heading("Contexts")
    yield from table(
        ("context", "team", "tables", "rows", "size", "written/s"),
        [
            (
                each.name,
                each.team or "-",
                str(len(each.tables)),
                f"{each.rows:,}",
                size(each.bytes),
                f"{each.writes_per_second:.2f}",
            )
            for each in analysis.shown
        ],
    )
    yield from heading("Order of cuts")
    yield from table(
        ("step", "context", "cost then", "cost now", *WORK),
        [(str(cut.step), cut.context, str(cut.cost_then), str(cut.cost), *_work(cut)) for cut in analysis.plan],
    )
    told = orders_told(analysis)
    yield from ["", *(f"* {sentence}" for sentence in told)] if told else []
    for cut in analysis.plan[:1]:
        yield from _needs(cut)
    yield from heading("Pairs")
    yield from table(
        ("contexts", "cost", *WORK),
        [(" ↔ ".join(pair.contexts), str(pair.cost), *_work(pair)) for pair in analysis.pairs[:SHOWN_AT_MOST]],
    )
    frameworks = {each.name for each in analysis.contexts if each.framework}
    for rule, found in by_rule(analysis.findings).items():
        # A transaction over three contexts is a coupling of each two, and one line.
        lines = {(each.place, each.message): each for each in found if not frameworks & {each.source, each.target}}
        shown = list(lines.values())
        if not shown:
            continue
        yield from heading(f"{rule} {RULES[rule].name} ({len(shown)})")
        yield f"{RULES[rule].remedy}."
        yield ""
        for finding in shown[:SHOWN_AT_MOST]:
            yield f"* {finding.place}: {finding.message}"
        if len(shown) > SHOWN_AT_MOST:
            yield f"* … and {len(shown) - SHOWN_AT_MOST} more; --format json has all"


def _work(work: Work) -> tuple[str, ...]:
    parts = (str(work.parts[part]) for part in PARTS)
    built = (str(len(each)) for each in (work.sagas, work.projections, work.contracts, work.loose_keys))
    return (*parts, *built, f"{work.rows:,}", size(work.bytes), f"{work.writes_per_second:.2f}")


def _needs(cut: Cut) -> Iterator[str]:
    yield ""
    yield f"To cut {cut.context} out now, build:"
    for what, items in (
        ("saga", cut.sagas),
        ("read model", cut.projections),
        ("contract", cut.contracts),
        ("loose key", cut.loose_keys),
    ):
        for item in items:
            yield f"* {what}: {item}"


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = [
            _aligned(cell, width, first=not number)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _aligned(cell: str, width: int, *, first: bool) -> str:
    return cell.ljust(width) if first or not cell[:1].isdigit() else cell.rjust(width)


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in [head, ["---"] * len(head), *rows]:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
