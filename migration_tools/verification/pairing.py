"""Two snapshots of the same instant, one a side: the owner's at a tick, the other's with exactly that tick applied."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Self

from migration_tools.stores.postgres import Connection
from migration_tools.transfer.stops import Ends, stopped_at_tick


@dataclass(frozen=True, kw_only=True)
class Pair:
    """`sender` and `receiver` are in read-only transactions that show the stream at `position`."""

    stream: str
    position: int
    sender: Connection
    receiver: Connection

    def turned(self) -> "Pair":
        """The way back, at the same instant."""
        return Pair(stream=self.stream, position=self.position, sender=self.receiver, receiver=self.sender)


@contextmanager
def paired_snapshots(ends: Ends, receiver_reader: Connection) -> Iterator[Pair]:
    """Stop the consumer for a moment, open both snapshots, let it go on; both stay open for the block."""
    try:
        with stopped_at_tick(ends, keep_snapshot=True) as stop:
            receiver_reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            receiver_reader.execute("SELECT 1")
        yield Pair(stream=ends.stream, position=stop.position, sender=ends.reader, receiver=receiver_reader)
    finally:
        for conn in (ends.reader, receiver_reader):
            if not conn.closed:
                conn.execute("ROLLBACK")


class Snapshots:
    """Paired snapshots that are renewed before they grow old, since an old snapshot holds vacuum back.

    Note [exact by ranges]. A key range is compared within one pair, so what is said of it is exact at that pair's
    instant, writers or not. The ranges of a table cover all keys; so every row is compared at some instant of the run,
    and a range needs nothing of the ones before it: that is why a run can be resumed. A row that moves to another
    range between two instants is no exception, since each range is complete at its own.
    """

    def __init__(self, ends: Ends, receiver_reader: Connection, longest_seconds: float):
        self.ends = ends
        self.receiver_reader = receiver_reader
        self.longest_seconds = longest_seconds
        self.opened = 0
        self.oldest_seconds = 0.0
        self._pair: Pair | None = None
        self._since = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def pair(self, expected_seconds: float = 0.0) -> Pair:
        """The present pair, or a new one if work of `expected_seconds` would make it too old."""
        if self._pair is not None and time.monotonic() - self._since + expected_seconds > self.longest_seconds:
            self._close()
        if self._pair is None:
            self._pair = self._stack.enter_context(paired_snapshots(self.ends, self.receiver_reader))
            self._since = time.monotonic()
            self.opened += 1
        return self._pair

    def _close(self) -> None:
        if self._pair is not None:
            self.oldest_seconds = max(self.oldest_seconds, time.monotonic() - self._since)
        self._pair = None
        self._stack.close()
