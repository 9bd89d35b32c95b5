"""What follows from other rows: copies of what a row refers to, and lists, counts and sums of the rows that name it."""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from migration_tools.projections.columns import Column, Copied, Gathered, Summed
from migration_tools.projections.declaration import Reference, Table
from migration_tools.projections.layout import SQL_TYPES
from migration_tools.projections.merging import Row
from migration_tools.projections.rows import Key, Shape, TableRows, named
from migration_tools.stores.postgres import sql

Found = list[tuple[Key, dict[str, Any]]]


def copies_from(table: Table, via: str, reference: Reference, referred: Row) -> dict[str, Any]:
    """The copied columns of a row that refers to `referred`; what a gone one leaves is the reference's policy."""
    copied = {name: c for name, c in table.columns.items() if isinstance(c, Copied) and c.via == via}
    if referred.gone and reference.on_gone != "keep":
        return {name: reference.anonymous.get(name) for name in copied}
    return {name: referred.values.get(c.column, c.default) for name, c in copied.items()}


def fan_out(
    rows: TableRows, via: str, reference: Reference, at: Any, referred: Row, by: tuple[str, ...], *, erases: bool
) -> Found:
    """Bring the rows that refer to `at` to what it is now; returns those that changed, with what others are made by.

    One statement by an index. Rows that were erased, which have no versions, stay erased.
    """
    if referred.gone and reference.on_gone == "cascade":
        found = _found(rows, by, rows.conn.execute(_affected(rows.shape, via, by), {"at": at}).fetchall())
        rows.conn.execute(_ending(rows.shape, via, erases), {"at": at})
        return found
    said = copies_from(rows.table, via, reference, referred)
    copies = {name: value for name, value in said.items() if name in rows.columns}
    if not copies:
        return []
    query = _copying(rows.shape, via, tuple(copies), by)
    return _found(rows, by, rows.conn.execute(query, {**rows.shape.cast(copies), "at": at}))


def refresh(
    rows: TableRows,
    source: TableRows,
    by: str,
    columns: tuple[str, ...],
    wanted: Collection[Any],
    also: tuple[str, ...],
) -> Found:
    """Make columns anew from the rows of `source`, for the rows with these keys; returns those rows."""
    if not wanted:
        return []
    query = _making(rows.shape, source.shape, by, columns, also)
    return _found(rows, also, rows.conn.execute(query, {"wanted": list(wanted)}))


@lru_cache(maxsize=1000)
def _copying(shape: Shape, via: str, copies: tuple[str, ...], by: tuple[str, ...]) -> bytes:
    pairs = [(sql.Identifier(name), shape.placeholder(name)) for name in copies]
    return (
        sql.SQL(
            """UPDATE {table} SET {changes} WHERE {via} = {at} AND NOT (_gone AND _versions = '{{}}') AND ({differs})
               RETURNING {what}"""
        )
        .format(
            table=shape.name,
            changes=sql.SQL(", ").join(sql.SQL("{} = {}").format(*pair) for pair in pairs),
            via=sql.Identifier(via),
            at=_at(shape, via),
            differs=sql.SQL(" OR ").join(sql.SQL("{} IS DISTINCT FROM {}").format(*pair) for pair in pairs),
            what=named([*shape.table.key, *by]),
        )
        .as_bytes(None)
    )


@lru_cache(maxsize=1000)
def _affected(shape: Shape, via: str, by: tuple[str, ...]) -> bytes:
    return (
        sql.SQL("SELECT {} FROM {} WHERE {} = {} AND NOT _gone")
        .format(named([*shape.table.key, *by]), shape.name, sql.Identifier(via), _at(shape, via))
        .as_bytes(None)
    )


@lru_cache(maxsize=1000)
def _ending(shape: Shape, via: str, erases: bool) -> bytes:
    nothing = [sql.SQL("{} = NULL").format(sql.Identifier(name)) for name in shape.columns]
    ended = [*nothing, sql.SQL("_versions = '{}', _gone = true")] if erases else [sql.SQL("_gone = true")]
    return (
        sql.SQL("UPDATE {} SET {} WHERE {} = {} AND NOT _gone")
        .format(shape.name, sql.SQL(", ").join(ended), sql.Identifier(via), _at(shape, via))
        .as_bytes(None)
    )


@lru_cache(maxsize=1000)
def _making(shape: Shape, source: Shape, by: str, columns: tuple[str, ...], also: tuple[str, ...]) -> bytes:
    [key] = shape.table.key
    changes = [
        sql.SQL("{} = (SELECT {} FROM {} AS of WHERE of.{} = this.{} AND of._seen AND NOT of._gone)").format(
            sql.Identifier(name),
            _made(source, shape.table.columns[name]),
            source.name,
            sql.Identifier(by),
            sql.Identifier(key),
        )
        for name in columns
    ]
    return (
        sql.SQL(
            "UPDATE {table} AS this SET {changes} WHERE {key} = ANY (%(wanted)s::{kind}[]) AND NOT _gone"
            " RETURNING {what}"
        )
        .format(
            table=shape.name,
            changes=sql.SQL(", ").join(changes),
            key=sql.Identifier(key),
            kind=SQL_TYPES[shape.types[key]],
            what=named([*shape.table.key, *also]),
        )
        .as_bytes(None)
    )


def _made(source: Shape, column: Column) -> sql.Composed:
    match column:
        case Gathered():
            pairs = [
                sql.SQL("{}, of.{}").format(sql.Literal(name), sql.Identifier(name))
                for name in column.fields
                if name in source.types
            ]
            order = sql.SQL(", ").join(sql.SQL("of.{}").format(sql.Identifier(name)) for name in source.table.key)
            return sql.SQL("COALESCE(jsonb_agg(jsonb_build_object({}) ORDER BY {}), '[]')").format(
                sql.SQL(", ").join(pairs), order
            )
        case Summed():
            return sql.SQL("COALESCE(sum(of.{}), 0)").format(sql.Identifier(column.column))
        case _:
            return sql.SQL("count(*)").format()


def _at(shape: Shape, column: str) -> sql.Composed:
    return sql.SQL("%(at)s::{}").format(SQL_TYPES[shape.types[column]])


def _found(rows: TableRows, by: tuple[str, ...], cursor: Iterable[Any]) -> Found:
    width = len(rows.table.key)
    return [(tuple(row[:width]), dict(zip(by, row[width:], strict=True))) for row in cursor]
