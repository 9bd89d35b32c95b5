"""Export tables to a sink: what changed since the last time, or everything; killed anywhere, the next run repeats."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migration_tools.errors import StoreError
from migration_tools.exports.ports import Sink, Watermark
from migration_tools.exports.reading import Reading, reading
from migration_tools.kernel import points
from migration_tools.stores.ports import Key
from migration_tools.stores.postgres import Connection


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What one table's export did."""

    table: str
    number: int
    rows: int
    whole: bool


def export(conn: Connection, tables: Sequence[str], sink: Sink, *, whole: bool = False) -> list[Exported]:
    """Export the tables as they are in one snapshot; with `whole` all rows take the place of what was exported.

    Raises:
        StoreError: a table has no key, has other columns than before (export it whole), or the sink refuses.
    """
    with reading(conn, *tables) as opened:
        return [_export(each, sink, whole=whole) for each in opened]


def _export(read: Reading, sink: Sink, *, whole: bool) -> Exported:
    before = sink.watermark(read.shape)
    if before is not None and before.declaration != read.shape.declaration and not whole:
        raise StoreError(
            f"table {read.shape.name!r} has other columns than were exported; export it anew with --since start"
        )
    since = None if whole or before is None else before.snapshot
    number = before.number + 1 if before is not None else 1
    rows = sink.write(read.shape, number, read.changed(since), _gone(read, sink, since))
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
