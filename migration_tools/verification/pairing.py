"""Two snapshots of the same instant, one a side: the owner's at a tick, the other's with exactly that tick applied."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from migration_tools.stores.postgres import Connection
from migration_tools.transfer.stops import Ends, stopped_at_tick


@dataclass(frozen=True, kw_only=True)
class Pair:
    """`sender` and `receiver` are in read-only transactions that show the stream at `position`."""

    stream: str
    position: int
    sender: Connection
    receiver: Connection


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
