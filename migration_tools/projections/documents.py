"""A row of a read model as a JSON document and back, for stores outside the database."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from migration_tools.errors import StoreError
from migration_tools.projections.columns import Column, Largest, Latest, Steps
from migration_tools.projections.declaration import Change, Put, ReadModel, Table
from migration_tools.projections.merging import Row, WrongValue, gone, put, typed

# Where a document that has its columns at the top keeps the rest of a row.
OURS = "strangle"


def to_document(row: Row) -> dict[str, Any]:
    """A row as JSON has it: numbers with fractions, moments and ids are text."""
    held = {"values": row.values, "versions": row.versions, "seen": row.seen, "gone": row.gone}
    document: dict[str, Any] = json.loads(json.dumps(held, default=_text))
    return document


def from_document(table: Table, held: Mapping[str, Any]) -> Row:
    """The row of a document; what is no column of the table any more is left out."""
    values = {
        name: typed(table, name, _kind(table.columns[name]), value)
        for name, value in held["values"].items()
        if name in table.columns
    }
    return Row(values=values, versions=held["versions"], seen=held["seen"], gone=held["gone"])


def flat(table: Table, key: Mapping[str, Any], row: Row) -> dict[str, Any]:
    """A row as JSON for an engine that is searched: key and columns at the top, beside them OURS with the rest."""
    names = {name: typed(table, name, kind, key[name]) for name, kind in table.key.items()}
    held = to_document(replace(row, values={**names, **row.values}))
    return {**held.pop("values"), OURS: {**held, "live": row.present}}


def from_flat(table: Table, held: Mapping[str, Any]) -> Row:
    """The row of what `flat` made.

    Raises:
        StoreError: somebody else made it.
    """
    if not isinstance(held.get(OURS), Mapping):
        raise StoreError(f"a document of {table.name!r} is somebody else's, it has no {OURS!r}: take it out")
    values = {name: held[name] for name in table.columns if name in held}
    return from_document(table, {**held[OURS], "values": values})


def refuse_names(table: Table, taken: Collection[str]) -> None:
    """Refuse a table of which a column is called as what stands beside a row.

    Raises:
        StoreError: the first such column.
    """
    for name in sorted({*table.key, *table.columns} & set(taken)):
        raise StoreError(f"column {name!r} of {table.name!r} is named as what stands beside a row: call it otherwise")


@contextmanager
def told_of(model: ReadModel) -> Iterator[None]:
    """Say in what a store refuses in the block which store it is, and that its events are kept."""
    try:
        yield
    except StoreError as error:
        said = str(error).partition(";")[0]
        raise type(error)(f"store {model.store!r}: {said}; nothing is lost") from error


def changed(table: Table, row: Row, change: Change, *, stream: str, position: int) -> Row:
    """The row after a change.

    Raises:
        WrongValue: the table cannot hold what the event says.
    """
    if isinstance(change, Put):
        return put(table, row, change.values, stream=stream, position=position, erases=True)
    return gone(row, erases=True)


def table_of(model: ReadModel, name: str) -> Table:
    """A table by its name.

    Raises:
        WrongValue: there is none.
    """
    try:
        return model.table(name)
    except KeyError:
        raise WrongValue(f"read model {model.name!r} has no table {name!r}") from None


def key_parts(table: Table, key: Mapping[str, Any]) -> list[str]:
    """The values of a key as text, in the order of the table's.

    Raises:
        WrongValue: it is not the table's key.
    """
    if set(key) != set(table.key):
        raise WrongValue(f"the key of {table.name!r} is {sorted(table.key)}, but {sorted(key)} were said")
    return [str(typed(table, name, kind, key[name])) for name, kind in table.key.items()]


def _kind(column: Column) -> str:
    assert isinstance(column, Latest | Steps | Largest)  # noqa: S101  (others are refused by validation)
    return column.type


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
