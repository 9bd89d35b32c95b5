"""A PostgreSQL table as a replica's store: the version rule in one upsert, the reference for other engines."""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import psycopg

from migration_tools.errors import StoreError
from migration_tools.stores.canonical import Digests, Kind, RowHash
from migration_tools.stores.ports import Column, Held, Key, Progress, Shape, VersionedRow, newest
from migration_tools.stores.postgres import canonical
from migration_tools.stores.postgres.connection import PINNED, Connection, describe_failure, sql

VERSION, DELETED = "_version", "_deleted"
PROGRESS = "strangle_replica"
# Types that any PostgreSQL has and that read back the text they were given; every other one is kept as text.
_NATIVE = {Kind.INTEGER, Kind.BOOLEAN, Kind.DECIMAL, Kind.SINGLE, Kind.DOUBLE, Kind.MOMENT, Kind.TIMESTAMP, Kind.DATE,
           Kind.UUID, Kind.BYTES}  # fmt: skip


class PostgresStore:
    """The Store over one database, `url` being a libpq connection string."""

    def __init__(self, url: str):
        options = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in PINNED.items())
        with _answering():
            self._conn: Connection = psycopg.connect(
                url, autocommit=True, options=options, application_name="strangle:replica", connect_timeout=5
            )

    def prepare(self, shape: Shape) -> None:
        """See Store."""
        parts = [
            sql.SQL("{} {}{}").format(
                sql.Identifier(column.name),
                sql.SQL(_type(column)),
                sql.SQL(" NOT NULL" if column.name in shape.key else ""),
            )
            for column in shape.columns
        ]
        key = sql.SQL(", ").join(sql.Identifier(name) for name in shape.key)
        with _answering():
            self._conn.execute(
                sql.SQL(
                    "CREATE TABLE IF NOT EXISTS {} ({}, {} bigint NOT NULL, {} boolean NOT NULL, PRIMARY KEY ({}))"
                ).format(self._table(shape), sql.SQL(", ").join(parts), _id(VERSION), _id(DELETED), key)
            )
            self._conn.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} (name text PRIMARY KEY, progress jsonb NOT NULL)").format(
                    _id(PROGRESS)
                )
            )
            held = canonical.type_names(self._conn, sql.SQL("SELECT * FROM {}").format(self._table(shape)))
        wanted = {column.name: _type(column) for column in shape.columns} | {VERSION: "bigint", DELETED: "boolean"}
        if held != wanted:
            raise StoreError(
                f"table {shape.into!r} has columns {sorted(held)} of other names or types than the replica; "
                "drop it, or give the replica another `into`"
            )

    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        """See Store; one statement, so also atomic."""
        kept = newest(rows)
        if not kept:
            return
        names = [column.name for column in shape.columns]
        places = [shape.key.index(name) if name in shape.key else None for name in names]
        lists: list[list[object]] = [[] for _ in names]
        for row in kept:
            values = row.values
            for place, target in enumerate(lists):
                at = places[place]
                target.append(values[place] if values is not None else None if at is None else row.key[at])
        arrays = sql.SQL(", ").join(sql.SQL("%s::text[]::{}[]").format(sql.SQL(_type(c))) for c in shape.columns)
        columns = [*names, VERSION, DELETED]
        updates = sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(_id(name)) for name in columns)
        statement = sql.SQL(
            "INSERT INTO {table} AS t ({names}) SELECT * FROM unnest({arrays}, %s::bigint[], %s::boolean[])"
            " ON CONFLICT ({key}) DO UPDATE SET {updates} WHERE t.{version} <= EXCLUDED.{version}"
        ).format(
            table=self._table(shape),
            names=sql.SQL(", ").join(_id(name) for name in columns),
            arrays=arrays,
            key=sql.SQL(", ").join(_id(name) for name in shape.key),
            updates=updates,
            version=_id(VERSION),
        )
        with _answering():
            self._conn.execute(statement, [*lists, [r.version for r in kept], [r.values is None for r in kept]])

    def read(self, shape: Shape, keys: Collection[Key]) -> dict[Key, Held]:
        """See Store."""
        columns = sql.SQL(", ").join(canonical.canonical_text(column) for column in shape.columns)
        statement = sql.SQL("SELECT r.{}, {} FROM {} WHERE {}").format(
            _id(VERSION), columns, self._living(shape), canonical.key_condition(_as_held(shape))
        )
        with _answering():
            found = self._conn.execute(statement, canonical.key_arrays(shape, list(keys))).fetchall()
        return {shape.key_of(tuple(row[1:])): Held(version=int(row[0]), values=tuple(row[1:])) for row in found}

    def digest(self, shape: Shape, buckets: int) -> Digests:
        """See Store; computed by the server."""
        with _answering():
            return canonical.digest(self._conn, self._living(shape), shape, buckets)

    def scan(self, shape: Shape, buckets: int, wanted: Collection[int]) -> Iterator[tuple[Key, RowHash]]:
        """See Store."""
        with _answering():
            yield from canonical.scan(self._conn, self._living(shape), shape, buckets, wanted)

    def progress(self, shape: Shape) -> Progress | None:
        """See Store."""
        with _answering():
            there = self._conn.execute("SELECT to_regclass(%s) IS NOT NULL", [PROGRESS]).fetchone()
            if not (there and there[0]):
                return None
            row = self._conn.execute(
                sql.SQL("SELECT progress::text FROM {} WHERE name = %s").format(_id(PROGRESS)), [shape.name]
            ).fetchone()
        if row is None:
            return None
        document = json.loads(row[0])
        return Progress(**{**document, "upto": None if document["upto"] is None else tuple(document["upto"])})

    def remember(self, shape: Shape, progress: Progress) -> None:
        """See Store."""
        with _answering():
            self._conn.execute(
                sql.SQL(
                    "INSERT INTO {} AS t (name, progress) VALUES (%s, %s::jsonb)"
                    " ON CONFLICT (name) DO UPDATE SET progress = EXCLUDED.progress"
                ).format(_id(PROGRESS)),
                [shape.name, json.dumps(asdict(progress))],
            )

    def drop(self, shape: Shape) -> None:
        """See Store."""
        with _answering():
            self._conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self._table(shape)))
            there = self._conn.execute("SELECT to_regclass(%s) IS NOT NULL", [PROGRESS]).fetchone()
            if there and there[0]:
                self._conn.execute(sql.SQL("DELETE FROM {} WHERE name = %s").format(_id(PROGRESS)), [shape.name])

    def close(self) -> None:
        """See Store."""
        self._conn.close()

    def _table(self, shape: Shape) -> sql.Identifier:
        return sql.Identifier(shape.into)

    def _living(self, shape: Shape) -> sql.Composed:
        return sql.SQL("(SELECT * FROM {} WHERE NOT {}) r").format(self._table(shape), _id(DELETED))


def _id(name: str) -> sql.Identifier:
    return sql.Identifier(name)


def _type(column: Column) -> str:
    return column.type if column.kind in _NATIVE else "text"


def _as_held(shape: Shape) -> Shape:
    """The shape with the types that the table has, for looking keys up."""
    columns = tuple(Column(name=column.name, type=_type(column)) for column in shape.columns)
    return Shape(name=shape.name, into=shape.into, key=shape.key, columns=columns, declaration=shape.declaration)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise StoreError(f"the replica's PostgreSQL failed: {describe_failure(error)}") from error
