"""The speed table: each quantity, what it is measured against, and the goal."""

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One row of the table; `unit` says what `measured` and `limit` are, `note` what they are of."""

    measured: float
    limit: float
    goal: float
    better: str
    unit: str
    note: str = ""

    @property
    def ratio(self) -> float:
        """Measured to limit."""
        return self.measured / self.limit if self.limit else 0.0

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio >= self.goal if self.better == "higher" else self.ratio <= self.goal

    def to_json(self) -> dict[str, Any]:
        """As it stands in var/bench/transfer.json."""
        return {**asdict(self), "ratio": round(self.ratio, 4), "met": self.met}


class Samples:
    """Seconds (or whatever is counted) by name, one a round."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """One round's value."""
        self._found.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def __getitem__(self, name: str) -> float:
        """The median over the rounds."""
        return median(self._found[name])

    def to_json(self) -> dict[str, list[float]]:
        """Every single value, so that a reader can see how far they lie apart."""
        return {name: [round(value, 4) for value in values] for name, values in self._found.items()}
