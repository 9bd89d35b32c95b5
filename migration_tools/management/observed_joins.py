"""JOINs over several contexts that were observed, as read models can be made of them: from traces or a report."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.trace import Trace
from migration_tools.analysis.traced import find_traced
from migration_tools.errors import AnalysisError

RULE = "SFA201"


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A JOIN: its place in the list, an id that stays, who sent it how often, and why no read model can be made."""

    number: int
    id: str
    shape: str
    function: str
    place: str
    tables: tuple[str, ...]
    count: int
    mistakes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def observed(traces: Iterable[Path], report: Path | None = None) -> list[Observed]:
    """Every shape once, the busiest first.

    Raises:
        AnalysisError: a trace or a report cannot be read.
    """
    traces = list(traces)
    found: list[Finding] = []
    if traces:
        found += [each for each in find_traced(Trace.read(traces, load_contexts())) if each.rule == RULE]
    if report is not None:
        found += _reported(report)
    # A JOIN of three contexts is found once for each other one; one shape may be sent from several lines.
    sent: dict[str, dict[tuple[str, str], Finding]] = {}
    for each in found:
        sent.setdefault(each.detail["shape"], {})[each.detail["key"], str(each.place)] = each
    counted = sorted(sent.items(), key=lambda item: (-sum(f.weight for f in item[1].values()), item[0]))
    return [_observed(number, shape, list(by.values())) for number, (shape, by) in enumerate(counted, 1)]


def choose(found: list[Observed], asked: str) -> Observed:
    """The one that is asked for by number or id; without being asked, the only one of which a read model can be made.

    Raises:
        AnalysisError: there is none, or several.
    """
    fit = [each for each in found if not each.mistakes]
    if asked:
        for each in found:
            if asked in (str(each.number), each.id):
                return each
        raise AnalysisError(f"no observed JOIN is {asked!r}; see strangle_projection observed")
    if len(fit) != 1:
        told = "\n".join(map(describe, found))
        raise AnalysisError(f"of {len(fit)} observed JOINs a read model can be made; choose one with --join\n{told}")
    return fit[0]


def describe(each: Observed) -> str:
    """Some lines for a person."""
    fault = f"\n     no read model: {'; '.join(each.mistakes)}" if each.mistakes else ""
    return (
        f"{each.number:3}. {each.id}  {' ⋈ '.join(each.tables)}  {each.count} times\n"
        f"     {each.function} ({each.place}){fault}"
    )


def _observed(number: int, shape: str, found: list[Finding]) -> Observed:
    from migration_tools.projections.joins import UnfitJoin, read_join

    mistakes: tuple[str, ...] = ()
    try:
        read_join(shape)
    except UnfitJoin as error:
        mistakes = tuple(error.mistakes)
    busiest = max(found, key=lambda each: each.weight)
    return Observed(
        number=number,
        id=f"{RULE}-{hashlib.sha256(shape.encode()).hexdigest()[:8]}",
        shape=shape,
        function=busiest.detail["key"],
        place=str(busiest.place),
        tables=tuple(sorted(busiest.tables)),
        count=sum(each.weight for each in found),
        mistakes=mistakes,
    )


def _reported(path: Path) -> list[Finding]:
    try:
        document = json.loads(path.read_text())
        return [Finding.from_json(each) for each in document["findings"] if each["rule"] == RULE]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnalysisError(
            f"{str(path)!r} is no report; make one with strangle_analyze --trace PATH --format json"
        ) from error
