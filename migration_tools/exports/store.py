"""A store of STORES, such as ClickHouse, as an export's sink: the export's number is each row's version there."""

from collections.abc import Iterable, Iterator
from itertools import islice

from migration_tools.exports.ports import Watermark
from migration_tools.stores.ports import Column, Key, Shape, Store, Values, VersionedRow

ROWS_AT_ONCE = 5_000
WATERMARKS = Shape(
    name="strangle_exports",
    into="strangle_exports",
    key=("table",),
    columns=tuple(Column(name=name, type="text") for name in ("table", "number", "snapshot", "declaration")),
    declaration="1",
)


class StoreSink:
    """A repetition writes the same rows under the same versions; a whole export ends what it does not hold."""

    def __init__(self, store: Store):
        self._store = store

    def watermark(self, shape: Shape) -> Watermark | None:
        """See Sink."""
        self._store.prepare(WATERMARKS)
        held = self._store.read(WATERMARKS, [(shape.name,)]).get((shape.name,))
        if held is None:
            return None
        _, number, snapshot, declaration = held.values
        return Watermark(number=int(number or 0), snapshot=snapshot or "", declaration=declaration or "")

    def keys(self, shape: Shape) -> Iterator[Key]:
        """See Sink."""
        self._store.prepare(shape)
        yield from (key for key, _ in self._store.scan(shape, 1, [0]))

    def write(self, shape: Shape, number: int, rows: Iterable[tuple[Key, Values]], gone: Iterable[Key]) -> int:
        """See Sink."""
        self._store.prepare(shape)
        ended = [VersionedRow(key=key, version=number, values=None) for key in gone]
        versioned = (VersionedRow(key=key, version=number, values=values) for key, values in rows)
        written = 0
        while some := list(islice(versioned, ROWS_AT_ONCE)):
            self._store.upsert(shape, some)
            written += len(some)
        for start in range(0, len(ended), ROWS_AT_ONCE):
            self._store.upsert(shape, ended[start : start + ROWS_AT_ONCE])
        return written + len(ended)

    def done(self, shape: Shape, watermark: Watermark, *, whole: bool) -> None:
        """See Sink."""
        values = (shape.name, str(watermark.number), watermark.snapshot, watermark.declaration)
        self._store.upsert(WATERMARKS, [VersionedRow(key=(shape.name,), version=watermark.number, values=values)])

    def close(self) -> None:
        """See Sink."""
        self._store.close()
