"""Carry a bucket's rows from one shard to another as PostgreSQL's own copy data; both have the same tables."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from migration_tools.kernel.watch import told
from migration_tools.sharding.declaration import ShardedTable, Sharding
from migration_tools.stores.postgres import Connection, sql, transaction

DELETED_AT_ONCE = 10_000


def count_bucket(conn: Connection, declared: Sharding, number: int) -> int:
    """How many rows a bucket has, of all tables."""
    total = 0
    for table in declared.tables:
        row = conn.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE {}").format(_id(table.table), _of_bucket(table, number))
        ).fetchone()
        total += int(row[0]) if row else 0
    return total


def copy_bucket(
    source: Connection, target: Connection, declared: Sharding, number: int, passed: Callable[[int], None]
) -> int:
    """Make the target's rows of a bucket what the source's are, whatever an earlier try left; returns how many.

    `passed` is told of rows as they go by; if it raises, nothing of this try is there.
    """
    with moving(target), transaction(source, repeatable=True):
        for table in reversed(declared.tables):
            target.execute(
                sql.SQL("DELETE FROM {} WHERE {} = %s").format(_id(table.table), _id(table.bucket)), [number]
            )
        return sum(
            pipe(source, target, table, _of_bucket(table, number), table.table, passed) for table in declared.tables
        )


def apply_keys(
    source: Connection, target: Connection, declared: Sharding, number: int, keys: Mapping[str, set[str]]
) -> None:
    """Make the target's rows of these keys what the source's are now; call inside the source's transaction."""
    touched = [table for table in declared.tables if table.table in keys]
    with moving(target):
        for table in touched:
            wanted = sorted(keys[table.table])
            staging = f"strangle_staged_{table.table}"
            target.execute(
                sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                    _id(staging), _columns(source, table), _id(table.table)
                )
            )
            condition = sql.SQL("{} AND {}::text = ANY ({})").format(
                _of_bucket(table, number), _id(table.key), sql.Literal(wanted)
            )
            pipe(source, target, table, condition, staging)
        for table in reversed(touched):
            target.execute(
                sql.SQL(
                    "DELETE FROM {table} t WHERE {bucket} = %s AND {key}::text = ANY (%s)"
                    " AND NOT EXISTS (SELECT FROM {staging} s WHERE s.{key} = t.{key})"
                ).format(
                    table=_id(table.table), bucket=_id(table.bucket), key=_id(table.key),
                    staging=_id(f"strangle_staged_{table.table}"),
                ),
                [number, sorted(keys[table.table])],
            )  # fmt: skip
        for table in touched:
            _merge(source, target, table)


def delete_bucket(conn: Connection, declared: Sharding, number: int, heed: Callable[[], None]) -> None:
    """Remove the rows of a bucket that is served elsewhere, some at a time; `heed` may raise between."""
    for table in reversed(declared.tables):
        statement = sql.SQL(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {bucket} = %s LIMIT %s))"
        ).format(table=_id(table.table), bucket=_id(table.bucket))
        deleted = DELETED_AT_ONCE
        while deleted == DELETED_AT_ONCE:
            heed()
            with moving(conn):
                deleted = conn.execute(statement, [number, DELETED_AT_ONCE]).rowcount


@contextmanager
def moving(conn: Connection) -> Iterator[None]:
    """A transaction whose writes the guard lets pass."""
    with transaction(conn):
        conn.execute("SELECT set_config('strangle.moving_bucket', 'on', true)")
        yield


def _merge(source: Connection, target: Connection, table: ShardedTable) -> None:
    columns = names_of(source, table)
    sets = sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(_id(name)) for name in columns)
    target.execute(
        sql.SQL(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {staging}"
            " ON CONFLICT ({key}) DO UPDATE SET {sets}"
        ).format(
            table=_id(table.table), columns=_columns(source, table), staging=_id(f"strangle_staged_{table.table}"),
            key=_id(table.key), sets=sets,
        )
    )  # fmt: skip


def pipe(
    source: Connection,
    target: Connection,
    table: ShardedTable,
    condition: sql.Composed,
    into: str,
    passed: Callable[[int], None] = lambda _: None,
    *,
    label: int | None = None,
) -> int:
    """Copy rows of a table as they are, or with another bucket; returns how many."""
    columns = _columns(source, table)
    taken = columns if label is None else _labelled(source, table, label)
    out = sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT").format(taken, _id(table.table), condition)
    in_ = sql.SQL("COPY {} ({}) FROM STDIN").format(_id(into), columns)
    reader, writer = source.cursor(), target.cursor()
    with reader.copy(out) as read, writer.copy(in_) as write:
        for block in told(read, passed):  # a row each
            write.write(block)
    return writer.rowcount


def _labelled(conn: Connection, table: ShardedTable, label: int) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.Literal(label) if name == table.bucket else _id(name) for name in names_of(conn, table)
    )


def _of_bucket(table: ShardedTable, number: int) -> sql.Composed:
    return sql.SQL("{} = {}").format(_id(table.bucket), sql.Literal(number))


def _columns(conn: Connection, table: ShardedTable) -> sql.Composed:
    return sql.SQL(", ").join(_id(name) for name in names_of(conn, table))


def names_of(conn: Connection, table: ShardedTable) -> list[str]:
    """The columns that are not computed from others."""
    rows = conn.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attgenerated = '' ORDER BY attnum",
        [table.table],
    ).fetchall()
    return [str(name) for (name,) in rows]


def _id(name: str) -> sql.Identifier:
    return sql.Identifier(name)
