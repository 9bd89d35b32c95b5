"""Export tables to a sink: what changed since the last time, or everything; killed anywhere, the next run repeats."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from migration_tools.errors import StoreError
from migration_tools.exports.ports import Sink, Watermark
from migration_tools.exports.reading import Reading, reading
from migration_tools.kernel import points
from migration_tools.kernel.watch import UNWATCHED, Watch, told
from migration_tools.stores.ports import Key
from migration_tools.stores.postgres import Connection
from migration_tools.stores.postgres.catalog import estimated_rows


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What one table's export did."""

    table: str
    number: int
    rows: int
    whole: bool


def export(
    conn: Connection, tables: Sequence[str], sink: Sink, *, whole: bool = False, watch: Watch = UNWATCHED
) -> list[Exported]:
    """Export the tables as they are in one snapshot; with `whole` all rows take the place of what was exported.

    Raises:
        StoreError: a table has no key, has other columns than before (export it whole), or the sink refuses.
        Interrupted: `watch` said so; tables that are done are exported, of the others nothing counts.
    """
    done: list[Exported] = []
    with reading(conn, *tables) as opened:
        for each in opened:
            stopped = f"stopped; {len(done)} of {len(opened)} tables are exported. Run the same command again"
            done.append(_export(each, sink, watch, stopped, whole=whole))
    return done


def _export(read: Reading, sink: Sink, watch: Watch, stopped: str, *, whole: bool) -> Exported:
    before = sink.watermark(read.shape)
    if before is not None and before.declaration != read.shape.declaration and not whole:
        raise StoreError(
            f"table {read.shape.name!r} has other columns than were exported; export it anew with --since start"
        )
    since = None if whole or before is None else before.snapshot
    number = before.number + 1 if before is not None else 1
    # How many have changed is known when they were read.
    total = estimated_rows(read.conn, read.shape.name) if since is None else None
    with watch.progress(f"export {read.shape.name}", total) as bar, closing(read.changed(since)) as changed:

        def passed(rows: int) -> None:
            points.reached("exports.read")
            bar.advance(rows)
            watch.heed(stopped)

        rows = sink.write(read.shape, number, told(changed, passed), _gone(read, sink, since))
    points.reached("exports.written")
    watermark = Watermark(number=number, snapshot=read.snapshot, declaration=read.shape.declaration)
    sink.done(read.shape, watermark, whole=since is None)
    return Exported(table=read.shape.name, number=number, rows=rows, whole=since is None)


def _gone(read: Reading, sink: Sink, since: str | None) -> Iterator[Key]:
    """Keys that are exported and no longer there; held in memory while they are compared."""
    exported = set(sink.keys(read.shape))
    if exported:
        exported.difference_update(read.keys())
    yield from exported
