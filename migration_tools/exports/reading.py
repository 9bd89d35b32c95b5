"""Rows of a table that may have changed since an earlier snapshot: none is left out, however late it was committed.

Note [watermarks are snapshots]. A time or a key as watermark loses what was committed later than what has a greater
one. PostgreSQL says of each row which transaction wrote it (xmin), and of each snapshot the oldest transaction that
still ran (its xmin): whatever is older had ended and was seen. So the rows to export are those whose writer is not
older: all that changed, and some that were seen already, which does no harm. Asking whether the snapshot saw just this
writer would be wrong: a row written behind a savepoint names the subtransaction, of which a snapshot knows nothing.

It needs no column and no trigger, and costs a sequential read. A row's xmin has 32 bits; its epoch is the newest that
is not in the future, so a row frozen long ago may be exported again, and none is missed. Deletions are the keys that
were exported and are gone.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from migration_tools.errors import StoreError
from migration_tools.stores.ports import Column, Key, Shape, Values
from migration_tools.stores.postgres import Connection, sql, transaction
from migration_tools.stores.postgres.canonical import type_names

FETCH_ROWS = 2_000

_KEY = """
    SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
    WHERE i.indrelid = %s::regclass AND i.indisprimary ORDER BY k.place"""
_WRITER = """
    CASE WHEN {x} < 3 THEN {x} WHEN {x} <= {now} & 4294967295 THEN (({now} >> 32) << 32) + {x}
         ELSE (greatest(({now} >> 32) - 1, 0) << 32) + {x} END"""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A table in one snapshot of its database."""

    conn: Connection
    shape: Shape
    snapshot: str

    def changed(self, since: str | None) -> Generator[tuple[Key, Values]]:
        """Key and PostgreSQL's text of each value of the rows that the earlier snapshot may not have seen."""
        columns = sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(c.name)) for c in self.shape.columns)
        statement = sql.SQL("SELECT {} FROM {} t").format(columns, sql.Identifier(self.shape.name))
        values: list[object] = []
        if since is not None:
            now = sql.SQL("pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
            writer = sql.SQL(_WRITER).format(x=sql.SQL("t.xmin::text::bigint"), now=now)
            statement += sql.SQL(" WHERE {} >= pg_snapshot_xmin(%s::pg_snapshot)::text::bigint").format(writer)
            values.append(since)
        with self.conn.cursor() as cursor:
            for row in cursor.stream(statement, values, size=FETCH_ROWS):
                yield self.shape.key_of(row), row

    def keys(self) -> Iterator[Key]:
        """The keys of all rows."""
        columns = sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in self.shape.key)
        statement = sql.SQL("SELECT {} FROM {} t").format(columns, sql.Identifier(self.shape.name))
        with self.conn.cursor() as cursor:
            yield from cursor.stream(statement, [], size=FETCH_ROWS)


@contextmanager
def reading(conn: Connection, *tables: str) -> Iterator[list[Reading]]:
    """The tables in one REPEATABLE READ transaction, so that what belongs together is exported together.

    Raises:
        StoreError: one of them has no primary key.
    """
    with transaction(conn, repeatable=True):
        row = conn.execute("SELECT pg_current_snapshot()::text").fetchone()
        snapshot = str(row[0]) if row else ""
        yield [Reading(conn=conn, shape=_shape(conn, table), snapshot=snapshot) for table in tables]


def _shape(conn: Connection, table: str) -> Shape:
    key = tuple(str(name) for (name,) in conn.execute(_KEY, [table]).fetchall())
    if not key:
        raise StoreError(f"table {table!r} has no primary key; what is exported must be known again")
    types = type_names(conn, sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
    columns = tuple(Column(name=name, type=kind) for name, kind in types.items())
    declaration = ",".join(f"{column.name} {column.type}" for column in columns)
    return Shape(name=table, into=table, key=key, columns=columns, declaration=declaration)
