"""What readers got from a side, as values that add and subtract; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from migration_tools.routing.table import Side


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Answers, those that were errors (5xx), and answers by upper bound of their time in milliseconds."""

    requests: int = 0
    errors: int = 0
    latencies: Mapping[float, int] = field(default_factory=dict)

    def __add__(self, other: "Counts") -> "Counts":
        return self._with(other, 1)

    def __sub__(self, other: "Counts") -> "Counts":
        return self._with(other, -1)

    def quantile(self, share: float) -> float | None:
        """An upper bound in milliseconds of this quantile of the answer times; None without answers."""
        total, seen = sum(self.latencies.values()), 0
        for bound in sorted(self.latencies):
            seen += self.latencies[bound]
            if total and seen >= share * total:
                return bound
        return None

    def _with(self, other: "Counts", sign: int) -> "Counts":
        bounds = self.latencies.keys() | other.latencies.keys()
        return Counts(
            requests=self.requests + sign * other.requests,
            errors=self.errors + sign * other.errors,
            latencies={b: self.latencies.get(b, 0) + sign * other.latencies.get(b, 0) for b in bounds},
        )


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What one proxy saw of one side of a context since it last said so."""

    context: str
    side: Side
    counts: Counts
