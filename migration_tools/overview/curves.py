"""What the samples of the last hour say: curves of each figure, and what readers got lately from either side."""

import datetime as dt
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from migration_tools.overview.observing import counts_from_json
from migration_tools.routing.counts import Counts
from migration_tools.state.models import Sample

POINTS = 120
LATELY = dt.timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What readers got from one side lately; times are upper bounds in milliseconds."""

    requests: int
    errors: int
    median_ms: float | None
    slow_ms: float | None

    @property
    def error_percent(self) -> float:
        return 100 * self.errors / self.requests if self.requests else 0.0


def lag_curves(samples: list[Sample]) -> dict[str, list[float]]:
    """Seconds behind, by `side:consumer`; a consumer that appeared late begins at 0."""
    names = sorted({name for each in samples for name in each.figures.get("lag", {})})
    return {name: thin([float(each.figures["lag"].get(name, 0.0)) for each in samples]) for name in names}


def fence_curve(samples: list[Sample]) -> list[float]:
    """Refused writes between two samples, of both sides."""
    return thin(differences([sum(each.figures.get("fenced", {}).values()) for each in samples]))


def open_curve(samples: list[Sample]) -> list[float]:
    """How many items stood before the decommission."""
    return thin([float(each.figures.get("open", 0)) for each in samples])


def use_curves(samples: list[Sample]) -> dict[str, tuple[list[float], list[float]]]:
    """Reads and writes of each old table between two samples."""
    tables = sorted({name for each in samples for name in each.figures.get("uses", {})})
    found = {}
    for name in tables:
        pairs = [each.figures["uses"][name] for each in samples if name in each.figures.get("uses", {})]
        found[name] = (thin(differences([p[0] for p in pairs])), thin(differences([p[1] for p in pairs])))
    return found


def answers(samples: list[Sample]) -> dict[str, Answers]:
    """What either side answered within the last minutes, by `old` and `new`."""
    recent = [each for each in samples if samples[-1].at - each.at <= LATELY] if samples else []
    if not recent:
        return {}
    first, last = recent[0].figures["traffic"], recent[-1].figures["traffic"]
    return {
        side: _answers(counts_from_json(last[side]) - _counts(first, side)) for side in ("old", "new") if side in last
    }


def _counts(figures: dict[str, Any], side: str) -> Counts:
    return counts_from_json(figures[side]) if side in figures else Counts()


def _answers(counts: Counts) -> Answers:
    return Answers(
        requests=counts.requests,
        errors=counts.errors,
        median_ms=counts.quantile(0.5),
        slow_ms=counts.quantile(0.95),
    )


def differences(values: list[int] | list[float]) -> list[float]:
    """What was added from each value to the next; a counter that was reset adds nothing."""
    return [max(float(after - before), 0.0) for before, after in pairwise(values)]


def thin(values: list[float]) -> list[float]:
    """At most POINTS values, each the highest of those it stands for, so that no peak is lost."""
    if len(values) <= POINTS:
        return values
    size = len(values) / POINTS
    return [max(values[int(i * size) : max(int((i + 1) * size), int(i * size) + 1)]) for i in range(POINTS)]
