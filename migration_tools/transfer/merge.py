"""Make a key range of a table equal to a chunk: keep what is right, add, change, and delete only what is not there.

Rows are never taken out to be put back: a column that is not mapped keeps its value, and no reference to a row fires.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from migration_tools.capture.relations import InstalledRelation
from migration_tools.stores.postgres import Connection, errors, sql
from migration_tools.stores.postgres.arrays import execute_with_arrays
from migration_tools.stores.postgres.catalog import Table
from migration_tools.stores.postgres.copying import Piped
from migration_tools.transfer.ranges import Bound, among
from migration_tools.transfer.sync import delete_by_key, rows_given, upsert_from
from migration_tools.transfer.uncopied import uncopied_tables
from migration_tools.transfer.waiting import let_wait, open_references, waiting_tables

STAGING = "strangle_staging"
KNOWN_AT_MOST = 2_000
EVERY_ROW = sql.SQL("true")

Fill = Callable[[str, sql.Composable], Piped]
Look = Callable[[Sequence[Bound]], Mapping[Bound, Sequence[str | None]]]


def merge_chunk(
    receiver: Connection,
    stream: str,
    relation: InstalledRelation,
    shape: Table,
    within: sql.Composed,
    fill: Fill,
    look: Look,
) -> Piped:
    """Merge the chunk into the target; call inside a transaction.

    `fill` copies those of the chunk's rows for which a condition on the relation holds into a table of the given name;
    `look` reads those with the given keys, as text; `within` is the range as a condition on the target's key columns.

    Note [rows already there]. Events put single rows where the copy has not been yet, and merging costs twice what
    copying does. So few rows that are there are read and written by their keys, without a staging table, and all
    others copied straight in. Should one of those meet a row that is there all the same (an equal but not the same key,
    another share's row, one that wrongly holds its unique value), the whole range is merged instead.
    """
    ours = sql.SQL("{} AND {}").format(within, sql.SQL(relation.share)) if relation.share else within
    known = _known(receiver, relation, ours)
    moved = None
    if not known and not relation.share:
        moved = fill(relation.target_table, EVERY_ROW)
    elif len(known) <= KNOWN_AT_MOST:
        with suppress(errors.UniqueViolation), receiver.transaction():
            if all(shape.columns[name].exact for name in relation.key_columns):
                few = _write(receiver, relation, shape, known, look(known))
            else:
                few = _merge(receiver, relation, shape, ours, lambda table, _: fill(table, among(relation, known)))
            rest = fill(relation.target_table, among(relation, known, others=True))
            moved = Piped(rows=few.rows + rest.rows, bytes=few.bytes + rest.bytes)
    if moved is None:
        moved = _merge(receiver, relation, shape, ours, fill)
    _let_wait(receiver, stream, shape, ours)
    return moved


def _known(receiver: Connection, relation: InstalledRelation, ours: sql.Composed) -> list[Bound]:
    """Keys of the rows that are there; no more than one above KNOWN_AT_MOST."""
    keys = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in relation.key_columns)
    statement = sql.SQL("SELECT {} FROM {} WHERE {} LIMIT {}").format(
        keys, sql.Identifier(relation.target_table), ours, sql.Literal(KNOWN_AT_MOST + 1)
    )
    return [tuple(row) for row in receiver.execute(statement)]


def _write(
    receiver: Connection,
    relation: InstalledRelation,
    shape: Table,
    known: Sequence[Bound],
    found: Mapping[Bound, Sequence[str | None]],
) -> Piped:
    """Bring the rows `found` to the target, and delete those of the keys `known` that are not among them."""
    gone = [key for key in known if key not in found]
    if gone:
        delete_by_key(receiver, shape, relation.key_columns, gone)
    if found:
        statement = upsert_from(shape, relation.columns, relation.key_columns, rows_given(shape, relation.columns))
        types = [shape.columns[name].type for name in relation.columns]
        execute_with_arrays(receiver, statement, list(zip(*found.values(), strict=True)), types)
    return Piped(rows=len(found), bytes=sum(len(value or "") for row in found.values() for value in row))


def _merge(receiver: Connection, relation: InstalledRelation, shape: Table, ours: sql.Composed, fill: Fill) -> Piped:
    """Bring what `fill` copies into a staging table to the target; rows of the range that are not in it are deleted."""
    target = sql.Identifier(relation.target_table)
    names = sql.SQL(", ").join(sql.Identifier(name) for name in relation.columns)
    receiver.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
            sql.Identifier(STAGING), names, target
        )
    )
    moved = fill(STAGING, EVERY_ROW)
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
    return moved


def _let_wait(receiver: Connection, stream: str, shape: Table, ours: sql.Composable) -> None:
    """See Note [waiting references]."""
    if shape.references:
        waiting = waiting_tables(receiver, stream)
        references = open_references(shape, uncopied_tables(receiver, stream), waiting)
        let_wait(receiver, stream, shape, references, ours)
