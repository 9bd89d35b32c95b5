"""The rows of one key: copied to another region's store unseen, compared, shown, hidden and removed.

Unseen rows bear the bucket -1 - n: no map has it, so no scatter counts them and nobody may write them.
"""

from typing import Any

from migration_tools.errors import ShardingError
from migration_tools.sharding.declaration import ShardedTable, Sharding
from migration_tools.sharding.rows import names_of, pipe
from migration_tools.stores.postgres import Connection, sql


def unseen(number: int) -> int:
    """The bucket that rows bear while they are not seen."""
    return -1 - number


def copy_key(source: Connection, target: Connection, declared: Sharding, key: str, *, seen: int, as_: int) -> int:
    """Make the target's rows of bucket `as_` and this key what the source's of bucket `seen` are; returns how many.

    Call inside a transaction of each.
    """
    delete_key(target, declared, key, as_)
    return sum(pipe(source, target, table, _of(table, key, seen), table.table, label=as_) for table in declared.tables)


def delete_key(conn: Connection, declared: Sharding, key: str, bucket: int) -> None:
    """Remove a key's rows that bear this bucket."""
    for table in reversed(declared.tables):
        conn.execute(sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(table.table), _of(table, key, bucket)))


def relabel_key(conn: Connection, declared: Sharding, key: str, bucket: int, to: int) -> None:
    """Let a key's rows bear another bucket: show them, or hide them."""
    for table in declared.tables:
        conn.execute(
            sql.SQL("UPDATE {} SET {} = {} WHERE {}").format(
                sql.Identifier(table.table), sql.Identifier(table.bucket), sql.Literal(to), _of(table, key, bucket)
            )
        )


def digest_key(conn: Connection, declared: Sharding, key: str, bucket: int) -> list[tuple[Any, ...]]:
    """For each table, how many rows a key has and a digest over all their columns but the bucket; in a transaction."""
    conn.execute("SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true)")
    return [_digest(conn, table, key, bucket) for table in declared.tables]


def refuse_unowned(declared: Sharding) -> None:
    """See that each table's rows can be found by the key that moves: the first table's own, the others' `by`.

    Raises:
        ShardingError: a table has none.
    """
    for table in declared.tables[1:]:
        if not table.by:
            raise ShardingError(
                f"MIGRATION_TOOLS['SHARDS'][{declared.name!r}] says no 'by' for {table.table!r}: whose rows are they? "
                "Name the column with the key that they belong to"
            )


def _digest(conn: Connection, table: ShardedTable, key: str, bucket: int) -> tuple[Any, ...]:
    # By name: two stores may have added their columns in different orders.
    names = sorted(name for name in names_of(conn, table) if name != table.bucket)
    row = conn.execute(
        sql.SQL(
            "SELECT count(*), md5(string_agg(md5(ROW({columns})::text), '' ORDER BY {key}::text COLLATE \"C\"))"
            " FROM {table} WHERE {ours}"
        ).format(
            columns=sql.SQL(", ").join(map(sql.Identifier, names)), key=sql.Identifier(table.key),
            table=sql.Identifier(table.table), ours=_of(table, key, bucket),
        )
    ).fetchone()  # fmt: skip
    return (table.table, *(row or ()))


def _of(table: ShardedTable, key: str, bucket: int) -> sql.Composed:
    return sql.SQL("{} = {} AND {} = {}").format(
        sql.Identifier(table.bucket), sql.Literal(bucket), sql.Identifier(table.found_by), sql.Literal(key)
    )
