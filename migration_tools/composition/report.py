"""Where a composed answer's time went: each part's beginning and end, its calls, and the path that decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a part came to its value."""

    FRESH = "fresh"  # the source answered
    STALE = "stale"  # the source failed, an older answer is given
    FALLBACK = "fallback"  # the source failed, the declared fallback is given
    ABSENT = "absent"  # the source says there is nothing
    SKIPPED = "skipped"  # a part that it needs has no value


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """One part, in milliseconds since the composition began."""

    name: str
    source: str
    after: tuple[str, ...]
    started_ms: float
    ended_ms: float
    outcome: Outcome

    @property
    def took_ms(self) -> float:
        """How long it was under way."""
        return self.ended_ms - self.started_ms


@dataclass(frozen=True, kw_only=True)
class BudgetReport:
    """What one composed answer cost."""

    composition: str
    deadline_ms: float
    total_ms: float
    depth: int
    calls: Mapping[str, int]
    parts: tuple[PartReport, ...]

    @property
    def critical_path(self) -> list[str]:
        """The parts that the total waited for, first to last: to be faster, make one of these faster."""
        parts = {part.name: part for part in self.parts}
        path: list[str] = []
        at = max(self.parts, key=lambda part: part.ended_ms, default=None)
        while at is not None:
            path.append(at.name)
            before = [parts[name] for name in at.after if name in parts]
            at = max(before, key=lambda part: part.ended_ms, default=None)
        return path[::-1]

    def server_timing(self) -> str:
        """As the value of a Server-Timing header, which browsers show."""
        return ", ".join(f'{part.name};dur={part.took_ms:.1f};desc="{part.outcome}"' for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """For logs and for `?report=1`."""
        return {
            "composition": self.composition,
            "deadline_ms": round(self.deadline_ms, 1),
            "total_ms": round(self.total_ms, 1),
            "depth": self.depth,
            "calls": dict(self.calls),
            "critical_path": self.critical_path,
            "parts": [
                {
                    "name": part.name,
                    "source": part.source,
                    "started_ms": round(part.started_ms, 1),
                    "took_ms": round(part.took_ms, 1),
                    "outcome": part.outcome.value,
                }
                for part in self.parts
            ],
        }
