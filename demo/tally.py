"""The tally: how many requests were made, and every one that failed, with its details."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

KEPT_FAILURES = 200


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A request whose answer was not the one expected."""

    at: float
    monotonic: float
    who: str
    request: str
    expected: str
    status: int | None
    detail: str


class Tally:
    """Counts shared by every thread of the traffic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._seconds: list[float] = []
        self._failed_at: list[float] = []
        self.failures: list[Failure] = []
        self._events: Counter[str] = Counter()

    def request(self, name: str, seconds: float) -> None:
        with self._lock:
            self._requests[name] += 1
            self._seconds.append(seconds)

    def event(self, name: str) -> None:
        """Count something worth telling that is no failure (sold out, refused by the fence …)."""
        with self._lock:
            self._events[name] += 1

    def failure(self, *, who: str, request: str, expected: str, status: int | None, detail: str) -> None:
        with self._lock:
            self._failed_at.append(time.monotonic())
            if len(self.failures) < KEPT_FAILURES:
                self.failures.append(
                    Failure(
                        at=time.time(),
                        monotonic=time.monotonic(),
                        who=who,
                        request=request,
                        expected=expected,
                        status=status,
                        detail=detail[:600],
                    )
                )

    def failed_between(self, start: float, end: float) -> int:
        with self._lock:
            return sum(start <= instant <= end for instant in self._failed_at)

    @property
    def requests(self) -> int:
        with self._lock:
            return self._requests.total()

    @property
    def failed(self) -> int:
        with self._lock:
            return len(self._failed_at)

    def events(self, name: str) -> int:
        with self._lock:
            return self._events[name]

    def summary(self) -> dict[str, Any]:
        with self._lock:
            ordered = sorted(self._seconds) or [0.0]
            return {
                "requests": self._requests.total(),
                "failed": len(self._failed_at),
                "by_request": dict(sorted(self._requests.items())),
                "events": dict(sorted(self._events.items())),
                "p50_ms": round(1000 * ordered[len(ordered) // 2], 1),
                "p99_ms": round(1000 * ordered[int(len(ordered) * 0.99)], 1),
                "longest_ms": round(1000 * ordered[-1], 1),
                "failures": [asdict(failure) for failure in self.failures],
            }
