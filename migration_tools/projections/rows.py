"""Read and write the rows of one slot in PostgreSQL, whole, as merged; each statement is composed once."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from migration_tools.projections.declaration import ReadModel, Table
from migration_tools.projections.layout import SQL_TYPES, table_name, type_of
from migration_tools.projections.merging import Row
from migration_tools.projections.slots import Slot
from migration_tools.stores.postgres import Connection, sql

Key = tuple[Any, ...]


class Document(str):
    """JSON as PostgreSQL wrote it: read into Python and written again, 1.50 would be 1.5."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Shape:
    """A table as it is in a slot; compared by identity, since there is one for each."""

    table: Table
    name: sql.Identifier
    columns: tuple[str, ...]
    types: Mapping[str, str]

    def placeholder(self, column: str) -> sql.Composed:
        """A parameter of this column's type."""
        return sql.SQL("{}::{}").format(sql.Placeholder(column), SQL_TYPES[self.types[column]])

    def cast(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values as parameters: documents as JSON text."""
        return {
            name: json.dumps(value)
            if value is not None and self.types[name] == "jsonb" and not isinstance(value, Document)
            else value
            for name, value in values.items()
        }


def shape_of(model: ReadModel, table: Table, slot: Slot) -> Shape:
    """The shape of a table in a slot; columns that a slot of an earlier declaration lacks are left out."""
    return _shape(model, table.name, slot.number, slot.held[table.name])


@lru_cache(maxsize=1000)
def _shape(model: ReadModel, name: str, slot: int, held: tuple[str, ...]) -> Shape:
    table = model.table(name)
    columns = tuple(each for each in table.columns if each in held)
    return Shape(
        table=table,
        name=sql.Identifier(table_name(name, slot)),
        columns=columns,
        types={each: type_of(model, table, each) for each in (*table.key, *columns)},
    )


class TableRows:
    """The rows of one table in one slot; call inside a transaction whose caller holds the group's lock."""

    def __init__(self, conn: Connection, shape: Shape):
        self.conn = conn
        self.shape = shape
        self.table = shape.table
        self.columns = shape.columns

    def read(self, key: Key) -> Row:
        """The row as merged so far; an empty one when nothing was ever said of it."""
        parameters = self.shape.cast(dict(zip(self.table.key, key, strict=True)))
        found = self.conn.execute(_reading(self.shape), parameters).fetchone()
        return Row() if found is None else self._row(found)

    def write(self, key: Key, row: Row) -> None:
        """Replace the row."""
        values = {name: row.values.get(name) for name in self.columns}
        parameters = self.shape.cast({**dict(zip(self.table.key, key, strict=True)), **values})
        marks = {"_versions": json.dumps(row.versions), "_seen": row.seen, "_gone": row.gone}
        self.conn.execute(_writing(self.shape), {**parameters, **marks})

    def _row(self, found: tuple[Any, ...]) -> Row:
        values = {
            name: Document(found[at]) if self.shape.types[name] == "jsonb" else found[at]
            for at, name in enumerate(self.columns)
            if found[at] is not None
        }
        versions, seen, gone = found[len(self.columns) :]
        return Row(values=values, versions=json.loads(versions), seen=seen, gone=gone)


@lru_cache(maxsize=1000)
def _reading(shape: Shape) -> bytes:
    # As text: Django's connections read jsonb in their own way, and we in ours.
    wanted = [
        sql.SQL("{}::text" if shape.types[name] == "jsonb" else "{}").format(sql.Identifier(name))
        for name in shape.columns
    ]
    where = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), shape.placeholder(name)) for name in shape.table.key
    )
    return (
        sql.SQL("SELECT {} FROM {} WHERE {}")
        .format(sql.SQL(", ").join([*wanted, sql.SQL("_versions::text, _seen, _gone")]), shape.name, where)
        .as_bytes(None)
    )


@lru_cache(maxsize=1000)
def _writing(shape: Shape) -> bytes:
    own = [sql.Identifier(name) for name in shape.columns]
    marks = [sql.Identifier(name) for name in ("_versions", "_seen", "_gone")]
    values = [shape.placeholder(name) for name in [*shape.table.key, *shape.columns]]
    return (
        sql.SQL(
            """INSERT INTO {table} ({names}) VALUES ({values}, %(_versions)s::jsonb, %(_seen)s, %(_gone)s)
               ON CONFLICT ({key}) DO UPDATE SET {changes}"""
        )
        .format(
            table=shape.name,
            names=sql.SQL(", ").join([*map(sql.Identifier, shape.table.key), *own, *marks]),
            values=sql.SQL(", ").join(values),
            key=named(shape.table.key),
            changes=sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(name) for name in [*own, *marks]),
        )
        .as_bytes(None)
    )


def named(columns: Iterable[str]) -> sql.Composed:
    """Columns, separated by commas."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))
