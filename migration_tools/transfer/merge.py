"""Make a key range of a table equal to a chunk: keep what is right, add, change, and delete only what is not there.

Rows are never taken out to be put back: a column that is not mapped keeps its value, and no reference to a row fires.
"""

from collections.abc import Callable

from migration_tools.capture.projector import InstalledRelation
from migration_tools.stores.postgres import Connection, errors, sql
from migration_tools.stores.postgres.catalog import Table
from migration_tools.transfer.sync import upsert_from
from migration_tools.transfer.uncopied import uncopied_tables
from migration_tools.transfer.waiting import let_wait, open_references, waiting_tables

STAGING = "strangle_staging"


def merge_chunk(
    receiver: Connection,
    stream: str,
    relation: InstalledRelation,
    shape: Table,
    within: sql.Composed,
    fill: Callable[[str], int],
) -> int:
    """Merge the chunk that `fill` copies into a table of the given name; call inside a transaction.

    `within` is the range as a condition on the target's key columns. Returns how many rows the chunk has.
    """
    target = sql.Identifier(relation.target_table)
    ours = sql.SQL("{} AND {}").format(within, sql.SQL(relation.share)) if relation.share else within
    names = sql.SQL(", ").join(sql.Identifier(name) for name in relation.columns)
    if not _exists(receiver, target, within):
        rows = fill(relation.target_table)
        _let_wait(receiver, stream, shape, ours)
        return rows
    receiver.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
            sql.Identifier(STAGING), names, target
        )
    )
    rows = fill(STAGING)
    same = sql.SQL(" AND ").join(sql.SQL("s.{0} = t.{0}").format(sql.Identifier(name)) for name in relation.key_columns)
    receiver.execute(
        sql.SQL("DELETE FROM {} t WHERE {} AND NOT EXISTS (SELECT FROM {} s WHERE {})").format(
            target, ours, sql.Identifier(STAGING), same
        )
    )
    staged = sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(STAGING))
    statement = upsert_from(shape, relation.columns, relation.key_columns, staged)
    try:
        with receiver.transaction():
            receiver.execute(statement)
    except errors.UniqueViolation:
        # Rows that were wrong hold each other's unique values: only now is the range emptied first.
        receiver.execute(sql.SQL("DELETE FROM {} WHERE {}").format(target, ours))
        receiver.execute(statement)
    receiver.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(STAGING)))
    _let_wait(receiver, stream, shape, ours)
    return rows


def _let_wait(receiver: Connection, stream: str, shape: Table, ours: sql.Composable) -> None:
    """See Note [waiting references]."""
    if shape.references:
        waiting = waiting_tables(receiver, stream)
        references = open_references(shape, uncopied_tables(receiver, stream), waiting)
        let_wait(receiver, stream, shape, references, ours)


def _exists(receiver: Connection, target: sql.Identifier, within: sql.Composed) -> bool:
    row = receiver.execute(sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(target, within)).fetchone()
    return bool(row and row[0])
