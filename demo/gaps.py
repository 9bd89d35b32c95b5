"""Gaps: how long nobody's write was acknowledged, over all clients, to the millisecond."""

from __future__ import annotations

import bisect
import itertools
import threading
import time


class WriteClock:
    """The instants at which writes were acknowledged, by ``time.monotonic``."""

    def __init__(self) -> None:
        self._instants: list[float] = []
        self._lock = threading.Lock()

    def acknowledged(self, instant: float | None = None) -> None:
        with self._lock:
            bisect.insort(self._instants, time.monotonic() if instant is None else instant)

    def longest_gap(self, start: float, end: float) -> float:
        """Give the longest time, in seconds, between two neighbouring writes, that touches [start, end].

        The last write before the window and the first one after it count as neighbours, so a gap that
        begins or ends outside is measured whole. With no write on one side the window's edge stands in.
        """
        with self._lock:
            first = max(bisect.bisect_left(self._instants, start) - 1, 0)
            last = bisect.bisect_right(self._instants, end) + 1
            instants = self._instants[first:last]
        if not instants or instants[0] > start:
            instants = [start, *instants]
        if instants[-1] < end:
            instants = [*instants, end]
        return max(later - earlier for earlier, later in itertools.pairwise(instants))

    def __len__(self) -> int:
        with self._lock:
            return len(self._instants)
