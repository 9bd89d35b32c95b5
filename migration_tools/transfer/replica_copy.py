"""Copy the history of a projection into a replica: key ranges, each read at an exact tick, resumable after kill -9."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from migration_tools.errors import TransferError
from migration_tools.kernel import points
from migration_tools.stores.ports import Progress, VersionedRow
from migration_tools.stores.postgres import sql
from migration_tools.transfer.ranges import KeyRange, next_bound, source_condition
from migration_tools.transfer.replicas import Follower

CHUNK_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class CopiedChunk:
    """One chunk's result, for progress."""

    rows: int
    total_rows: int
    done: bool


def copy_replica(
    follower: Follower, *, pause: Callable[[], None] = lambda: None, rows: int = CHUNK_ROWS
) -> Iterator[CopiedChunk]:
    """Copy what is not copied yet, one chunk an item, applying the stream between chunks; begin if it was not begun.

    A row of a chunk has the tick's position as its version. What changed before that tick is older, and what changes
    after it is newer: so chunks and changes may reach the store in any order. `pause()` may wait or raise.
    """
    progress = follower.store.progress(follower.bound.shape)
    progress = follower.begin() if progress is None else follower.begun()
    while not progress.done:
        pause()
        with follower.gate():
            progress = follower.begun()
            if progress.done:
                return
            before = progress.rows
            progress = _chunk(follower, progress, rows)
        yield CopiedChunk(rows=progress.rows - before, total_rows=progress.rows, done=progress.done)
        follower.step()


def _chunk(follower: Follower, progress: Progress, size: int) -> Progress:
    bound = follower.bound
    with follower.instant() as position:
        upto = next_bound(follower.reader, bound.relation, progress.upto, size)
        names = sql.SQL(", ").join(
            sql.SQL("r.{}::text").format(sql.Identifier(column.name)) for column in bound.shape.columns
        )
        query = sql.SQL("SELECT {} FROM ({}) r WHERE {}").format(
            names,
            sql.SQL(bound.relation.query),
            source_condition(bound.relation, KeyRange(after=progress.upto, upto=upto)),
        )
        found = follower.reader.execute(query).fetchall()
    if position < progress.position:
        raise TransferError(
            f"stream {bound.stream!r} ends at {position} but replica {bound.replica.name!r} is at {progress.position}; "
            f"was the source restored from a backup? run strangle_replica {bound.stream} copy "
            f"--only {bound.replica.name} --restart"
        )
    rows = [VersionedRow(key=bound.shape.key_of(tuple(v)), version=position, values=tuple(v)) for v in found]
    follower.store.upsert(bound.shape, rows)
    points.reached("replica.chunk_written")
    progress = replace(progress, upto=upto, rows=progress.rows + len(rows), done=upto is None)
    follower.store.remember(bound.shape, progress)
    points.reached("replica.chunk_remembered")
    return progress
