"""The rows of a relation where Python has a part in its mapping, as a query that PostgreSQL reads like any other."""

from collections.abc import Iterable, Sequence
from typing import Any

from migration_tools.capture.relations import InstalledRelation
from migration_tools.capture.transforms import Maker, Mapping, Row, plan_of, raw_columns
from migration_tools.stores.postgres import Connection, sql
from migration_tools.stores.postgres.arrays import array_literal


def raw_select(relation: Mapping, rows: sql.Composable) -> sql.Composed:
    """SELECT of the raw row, each value as text, from `rows`, a FROM item with alias r."""
    names = [f"k{place}" for place in range(len(relation.key_types))]
    texts = (sql.SQL("r.{}::text").format(sql.Identifier(name)) for name in (*names, *raw_columns(relation)))
    return sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(texts), rows)


def written_out(
    conn: Connection, relation: InstalledRelation, query: sql.Composable, params: Sequence[Any]
) -> tuple[sql.Composed, list[Any]]:
    """A query like the relation's own, of rows run through its functions, and its parameters.

    `query` limits the relation's rows; all of them are held in memory.
    """
    found = conn.execute(raw_select(relation, sql.SQL("({}) r").format(query)), params)
    columns = _columns(relation, Maker(plan_of(relation)).rows(found))
    return _select(relation, [sql.SQL("%s") for _ in columns]), [*columns]


def literal_rows(relation: InstalledRelation, rows: Iterable[Row]) -> sql.Composed:
    """Rows that have been through the functions, key first, as a FROM item with alias r, without parameters."""
    columns = _columns(relation, rows)
    return sql.SQL("({}) r").format(_select(relation, [sql.Literal(column) for column in columns]))


def _columns(relation: InstalledRelation, rows: Iterable[Row]) -> list[str]:
    """One array a column, as PostgreSQL's text."""
    held = list(rows)
    return [array_literal([row[i] for row in held]) for i in range(len(relation.key_types) + len(relation.columns))]


def _select(relation: InstalledRelation, arrays: Sequence[sql.Composable]) -> sql.Composed:
    names = [*(f"k{place}" for place in range(len(relation.key_types))), *relation.columns]
    types = (*relation.key_types, *relation.column_types)
    places = [sql.Identifier(f"v{place}") for place in range(len(names))]
    values = (
        sql.SQL("u.{}::{} AS {}").format(place, sql.SQL(type_name), sql.Identifier(name))
        for place, type_name, name in zip(places, types, names, strict=True)
    )
    given = (sql.SQL("{}::text[]").format(array) for array in arrays)
    return sql.SQL("SELECT {} FROM unnest({}) AS u({})").format(
        sql.SQL(", ").join(values), sql.SQL(", ").join(given), sql.SQL(", ").join(places)
    )
