"""Parquet files: a part for each export, named by its number, and a manifest that says which of them count."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from migration_tools.errors import StoreError
from migration_tools.exports.ports import Watermark
from migration_tools.stores.canonical import Kind, decimal_size
from migration_tools.stores.ports import Column, Key, Shape, Values

MANIFEST = "manifest.json"
NUMBER, GONE = "_export", "_gone"
ROWS_A_GROUP = 50_000
LARGEST_DECIMAL = 38


class ParquetSink:
    """Parts below `directory`/<table>/; a reader takes those of the manifest, and of each key the newest `_export`."""

    def __init__(self, directory: Path):
        self.directory = directory

    def watermark(self, shape: Shape) -> Watermark | None:
        """See Sink."""
        manifest = _manifest(self.directory / shape.into)
        return None if manifest is None else Watermark(**manifest["watermark"])

    def keys(self, shape: Shape) -> Iterator[Key]:
        """See Sink."""
        known: dict[Key, bool] = {}
        for batch in _batches(self.directory / shape.into, [*shape.key, GONE]):
            columns = [[_text(value) for value in batch[name]] for name in shape.key]
            known.update(zip(zip(*columns, strict=True), batch[GONE], strict=True))
        yield from (key for key, gone in known.items() if not gone)

    def write(self, shape: Shape, number: int, rows: Iterable[tuple[Key, Values]], gone: Iterable[Key]) -> int:
        """See Sink; the file appears whole or not at all."""
        import pyarrow.parquet

        folder = self.directory / shape.into
        folder.mkdir(parents=True, exist_ok=True)
        schema = _schema(shape)
        part, written = folder / _part(number), 0
        unfinished = part.with_suffix(".unfinished")
        with pyarrow.parquet.ParquetWriter(unfinished, schema) as writer:
            for values, ended in _all_rows(shape, rows, gone):
                writer.write_table(_table(shape, schema, values, number, ended))
                written += len(values)
        os.replace(unfinished, part)
        return written

    def done(self, shape: Shape, watermark: Watermark, *, whole: bool) -> None:
        """See Sink; parts that count no more are removed after the manifest has said so."""
        folder = self.directory / shape.into
        before = _manifest(folder)
        parts = [_part(watermark.number)]
        if before is not None and not whole:
            parts = [*before["parts"], *parts]
        document = {"watermark": vars(watermark), "key": list(shape.key), "parts": parts}
        unfinished = folder / f"{MANIFEST}.unfinished"
        unfinished.write_text(json.dumps(document, indent=1))
        os.replace(unfinished, folder / MANIFEST)
        for path in folder.glob("part-*.parquet"):
            if path.name not in parts:
                path.unlink()

    def close(self) -> None:
        """See Sink; nothing is open."""


def current_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of an exported table as of its last export, for readers and for checks."""
    manifest = _manifest(folder)
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for batch in _batches(folder, None):
        for row in (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)):
            newest[tuple(row[name] for name in (manifest or {})["key"])] = row
    return [
        {name: value for name, value in row.items() if name not in (NUMBER, GONE)}
        for row in newest.values()
        if not row[GONE]
    ]


def _manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _part(number: int) -> str:
    return f"part-{number:08}.parquet"


def _batches(folder: Path, columns: Sequence[str] | None) -> Iterator[dict[str, list[Any]]]:
    """Columns of all parts that count, oldest first."""
    import pyarrow.parquet

    manifest = _manifest(folder)
    for name in [] if manifest is None else manifest["parts"]:
        with pyarrow.parquet.ParquetFile(folder / name) as file:
            for batch in file.iter_batches(ROWS_A_GROUP, columns=None if columns is None else list(columns)):
                yield batch.to_pydict()


def _all_rows(
    shape: Shape, rows: Iterable[tuple[Key, Values]], gone: Iterable[Key]
) -> Iterator[tuple[list[Values], bool]]:
    """Groups of rows, then groups of keys that are gone, as rows of NULLs beside their key."""
    changed = (values for _, values in rows)
    while group := list(islice(changed, ROWS_A_GROUP)):
        yield group, False
    places = [shape.key.index(column.name) if column.name in shape.key else None for column in shape.columns]
    ended = (tuple(None if place is None else key[place] for place in places) for key in gone)
    while group := list(islice(ended, ROWS_A_GROUP)):
        yield group, True


def _table(shape: Shape, schema: Any, rows: Sequence[Values], number: int, gone: bool) -> Any:
    import pyarrow

    arrays = []
    for column, values in zip(shape.columns, zip(*rows, strict=True), strict=True):
        try:
            arrays.append(_array(column, list(values), schema.field(column.name).type))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, ValueError) as error:
            raise StoreError(
                f"a value of {shape.name!r}.{column.name!r} ({column.type}) has no place in Parquet, such as infinity; "
                "export a view that casts it to text"
            ) from error
    arrays.append(pyarrow.array([number] * len(rows), pyarrow.int64()))
    arrays.append(pyarrow.array([gone] * len(rows), pyarrow.bool_()))
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def _array(column: Column, values: list[str | None], type: Any) -> Any:
    import pyarrow

    if column.kind is Kind.BOOLEAN:
        return pyarrow.array([None if value is None else value == "true" for value in values], type)
    if column.kind is Kind.BYTES:
        return pyarrow.array([None if value is None else bytes.fromhex(value[2:]) for value in values], type)
    return pyarrow.array(values, pyarrow.string()).cast(type)


def _schema(shape: Shape) -> Any:
    import pyarrow

    fields = [pyarrow.field(column.name, _type(column)) for column in shape.columns]
    return pyarrow.schema([*fields, (NUMBER, pyarrow.int64()), (GONE, pyarrow.bool_())])


def _type(column: Column) -> Any:
    import pyarrow

    size = decimal_size(column.type)
    types = {
        Kind.INTEGER: pyarrow.int64(),
        Kind.BOOLEAN: pyarrow.bool_(),
        Kind.SINGLE: pyarrow.float32(),
        Kind.DOUBLE: pyarrow.float64(),
        Kind.MOMENT: pyarrow.timestamp("us", "UTC"),
        Kind.TIMESTAMP: pyarrow.timestamp("us"),
        Kind.DATE: pyarrow.date32(),
        Kind.BYTES: pyarrow.binary(),
    }
    if size is not None and size[0] <= LARGEST_DECIMAL:
        return pyarrow.decimal128(*size)
    return types.get(column.kind, pyarrow.string())


def _text(value: Any) -> str:
    """A key's value as PostgreSQL writes it; keys of other kinds are text already."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
