"""The report: what a run came to, in the shape that others read, and the verdict on it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(kw_only=True)
class Phase:
    """One phase as its command left it."""

    name: str
    seconds: float
    evidence: dict[str, Any]


@dataclass(kw_only=True)
class TrafficFigures:
    requests: int = 0
    failed: int = 0
    writes_acknowledged: int = 0
    writes_lost: int = 0
    writes_duplicated: int = 0


@dataclass(kw_only=True)
class Verification:
    """One verification; without planted corruptions every difference is a false alarm."""

    rows: int
    differences: int
    false_alarms: int
    planted: int = 0
    found: int = 0


@dataclass(kw_only=True)
class Cutover:
    direction: str
    longest_write_gap_ms: float
    baseline_write_gap_ms: float
    failed_requests: int


@dataclass(kw_only=True)
class Report:
    """Written as ``report.json``; its fields are the file's keys."""

    phases: list[Phase] = field(default_factory=list)
    traffic: TrafficFigures = field(default_factory=TrafficFigures)
    backfill: dict[str, Any] = field(default_factory=lambda: {"rows": 0, "seconds": 0.0})
    verification: list[Verification] = field(default_factory=list)
    cutover: list[Cutover] = field(default_factory=list)
    lag_ms: dict[str, float | None] = field(default_factory=lambda: {"p50": None, "p99": None})
    result: str = "not finished"

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
        draft.replace(path)

    def shortcomings(self) -> list[str]:
        """Everything that keeps the run from being "ok", as sentences."""
        figures = self.traffic
        found = [
            (figures.failed, f"{figures.failed} requests failed"),
            (figures.writes_lost, f"{figures.writes_lost} writes lost"),
            (figures.writes_duplicated, f"{figures.writes_duplicated} writes duplicated"),
            (not figures.writes_acknowledged, "no write was acknowledged at all"),
        ]
        for number, verification in enumerate(self.verification, 1):
            missed = verification.planted - verification.found
            found.append((missed, f"verification {number} missed {missed} planted corruptions"))
            found.append(
                (
                    verification.false_alarms,
                    f"verification {number}: {verification.false_alarms} false alarms",
                )
            )
        return [sentence for wrong, sentence in found if wrong]
