"""Hold the receiving side exactly at a tick of the sending side, for as short as the work at hand allows.
 Note [exact stops]. The stop takes the GATE of the receiving database, which every apply shares, so nothing is applied.
Then it appends a tick itself, exports that tick's snapshot, and applies what is left up to it. Now the receiving tables
hold exactly the mapping of what `reader` sees. A chunk copied here has an exact place in the order of events; two
snapshots taken here show the same instant. All locks are held by connections: a kill -9 ends the stop, and whatever was
committed is a state that the consumer goes on from.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from migration_tools.capture.projector import RelationProjector
from migration_tools.conf import settings
from migration_tools.errors import FenceBusy
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.inbox import apply_rows, positions
from migration_tools.messaging.stream import read_batch
from migration_tools.messaging.ticks import append_tick
from migration_tools.stores.postgres import Connection, advisory, commit_soon, errors, transaction
from migration_tools.transfer.sync import TableWriter

GATE_TIMEOUT_SECONDS = 10.0
DRAIN_ROWS = 5_000


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The connections of one direction: rows flow from `sender` to `receiver`; `reader` is a second one to the
    sender."""

    stream: str
    sender: Connection
    reader: Connection
    receiver: Connection


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A moment at which the receiver equals the sender: its position, and how many records were applied to get
    there."""

    position: int
    drained: int


@contextmanager
def stopped_at_tick(ends: Ends, *, keep_snapshot: bool = False) -> Iterator[Stop]:
    """For the block: `reader` is in a transaction on the tick's snapshot and the receiver stands exactly there.

    With `keep_snapshot` the reader's transaction outlives the block; its caller rolls it back.

    Raises:
        FenceBusy: the consumer's transaction did not end in time.
    """
    with gate(ends):
        position = tick_and_export(ends.sender, ends.reader, ends.stream)
        try:
            drained = _drain(ends, position)
            points.reached("stop.drained")
            yield Stop(position=position, drained=drained)
        except BaseException:
            keep_snapshot = False
            raise
        finally:
            if not keep_snapshot and not ends.reader.closed:
                ends.reader.execute("ROLLBACK")


def pre_drain(ends: Ends) -> int:
    """Apply what the sender has numbered so far, without stopping anybody for longer; returns how many records."""
    with gate(ends):
        row = ends.sender.execute(
            "SELECT base + records FROM strangle_tick WHERE stream = %s ORDER BY number DESC LIMIT 1",
            [ends.stream],
        ).fetchone()
        return _drain(ends, int(row[0]) if row else 0)


@contextmanager
def gate(ends: Ends) -> Iterator[None]:
    """Keep every apply of the stream out of the receiver for the block; may be taken again inside.

    Raises:
        FenceBusy: the consumer's transaction did not end in time.
    """
    ends.receiver.execute("SELECT set_config('lock_timeout', %s, false)", [f"{int(GATE_TIMEOUT_SECONDS * 1000)}ms"])
    try:
        advisory.hold(ends.receiver, LockClass.GATE, ends.stream)
    except errors.LockNotAvailable as error:
        raise FenceBusy(
            f"the consumer of {ends.stream!r} did not finish its batch within {GATE_TIMEOUT_SECONDS:.0f} s; "
            "see strangle_status, then run the same command again"
        ) from error
    try:
        ends.receiver.execute("SELECT set_config('lock_timeout', '0', false)")
        yield
    finally:
        if not ends.receiver.closed:
            advisory.release(ends.receiver, LockClass.GATE, ends.stream)


def tick_and_export(sender: Connection, reader: Connection, stream: str) -> int:
    """Append a tick and open a transaction of `reader` on its very snapshot; returns the stream's end there."""
    with advisory.held(sender, LockClass.TICK, stream), transaction(sender, repeatable=True):
        result = append_tick(sender, stream, RelationProjector())
        exported = sender.execute("SELECT pg_export_snapshot()").fetchone()
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        reader.execute(f"SET TRANSACTION SNAPSHOT '{exported[0] if exported else ''}'")
        return result.head


def _drain(ends: Ends, position: int) -> int:
    writer = TableWriter()
    drained = 0
    cursor = ends.sender.cursor()
    while True:
        with transaction(ends.receiver):
            _, at = positions(ends.receiver, ends.stream, lock=True)
            batch = read_batch(cursor, ends.stream, origin=settings().SIDE, after=at, limit=DRAIN_ROWS, upto=position)
            if batch.first >= batch.last:
                # Nothing to keep: the chunk before need not be on the disk yet.
                commit_soon(ends.receiver)
                return drained
            apply_rows(ends.receiver, batch, writer)
            drained += len(batch.rows)
