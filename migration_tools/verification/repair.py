"""Repair what a verification has confirmed: each row is compared again and replaced at an exact stop."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from migration_tools.capture.applying import mark_applying
from migration_tools.capture.mapped_rows import written_out
from migration_tools.capture.projector import key_arrays, keyed_query
from migration_tools.capture.relations import InstalledRelation
from migration_tools.errors import TransferError
from migration_tools.messaging.batch import RelationHead
from migration_tools.stores.postgres import Connection, errors, sql, transaction
from migration_tools.stores.postgres.arrays import execute_with_arrays
from migration_tools.stores.postgres.catalog import read_table
from migration_tools.transfer.copy import whole_relations
from migration_tools.transfer.stops import Ends, stopped_at_tick
from migration_tools.transfer.sync import upsert_statement
from migration_tools.verification.compare import compare_keys
from migration_tools.verification.pairing import Pair
from migration_tools.verification.report import Difference, DifferenceKind

Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """What a repair did: rows written or deleted by table, and how many were equal by then."""

    position: int
    written: dict[str, int]
    deleted: dict[str, int]
    equal: int

    @property
    def keys(self) -> int:
        """All rows that were changed."""
        return sum(self.written.values()) + sum(self.deleted.values())


def repair(ends: Ends, differences: Iterable[Difference]) -> Repaired:
    """Make the rows with these keys what the owner holds at a fresh tick, if they still differ there.

    All tables in one transaction, at an exact stop, so live writes cannot come between, and a row that a live write
    has mended meanwhile is left alone.

    Raises:
        TransferError: a difference is in the owner's own table, so the way back of the playbook is wrong, not a row.
    """
    by_table: dict[str, set[Key]] = {}
    for difference in differences:
        if difference.kind is not DifferenceKind.INVARIANT:
            by_table.setdefault(difference.table, set()).add(difference.key)
    relations = [r for r in whole_relations(ends.sender, ends.stream) if r.target_table in by_table]
    own = sorted(by_table.keys() - {r.target_table for r in relations})
    if own:
        raise TransferError(
            f"the way back into {own} gives other rows than the owner has, so a rollback would change them; "
            f"correct `reverse` in the playbook of {ends.stream!r}, then run strangle_doctor {ends.stream} --mend"
        )
    named = sum(len(keys) for keys in by_table.values())
    written: dict[str, int] = {}
    deleted: dict[str, int] = {}
    with stopped_at_tick(ends) as stop, transaction(ends.receiver):
        mark_applying(ends.receiver, "row")
        pair = Pair(stream=ends.stream, position=stop.position, sender=ends.reader, receiver=ends.receiver)
        wrong = {
            relation.number: {
                difference.key
                for difference in compare_keys(pair, relation, sorted(by_table[relation.target_table])).differences
            }
            for relation in relations
        }
        rows = {relation.number: _rows(ends, relation, wrong[relation.number]) for relation in relations}
        there: dict[str, set[Key]] = {}
        for relation in relations:
            there.setdefault(relation.target_table, set()).update(rows[relation.number])
        for relation in reversed(relations):
            absent = wrong[relation.number] - there[relation.target_table]
            deleted[relation.target_table] = deleted.get(relation.target_table, 0) + len(absent)
            _delete(ends.receiver, relation, sorted(absent))
        for relation in relations:
            written[relation.target_table] = written.get(relation.target_table, 0) + len(rows[relation.number])
            _upsert(ends.receiver, relation, list(rows[relation.number].values()))
    done = sum(written.values()) + sum(deleted.values())
    return Repaired(position=stop.position, written=written, deleted=deleted, equal=named - done)


def _rows(ends: Ends, relation: InstalledRelation, keys: set[Key]) -> dict[Key, tuple[str | None, ...]]:
    """The sender's rows with these keys, as text, at the stop's tick."""
    names = sql.SQL(", ").join(sql.SQL("r.{}::text").format(sql.Identifier(name)) for name in relation.columns)
    rows: sql.Composed = keyed_query(relation)
    params: list[Any] = key_arrays(sorted(keys), len(relation.key_types))
    if relation.transforms:
        rows, params = written_out(ends.reader, relation, rows, params)
    query = sql.SQL("SELECT {} FROM ({}) r").format(names, rows)
    places = [relation.columns.index(name) for name in relation.key_columns]
    found = ends.reader.execute(query, params).fetchall()
    return {tuple(str(row[place]) for place in places): tuple(row) for row in found}


def _delete(conn: Connection, relation: InstalledRelation, keys: list[Key]) -> None:
    if not keys:
        return
    key = sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in relation.key_columns)
    arrays = sql.SQL(", ").join(sql.SQL("%s::text[]") for _ in relation.key_columns)
    conn.execute(
        sql.SQL("DELETE FROM {} t WHERE ({}) IN (SELECT * FROM unnest({}))").format(
            sql.Identifier(relation.target_table), key, arrays
        ),
        key_arrays(keys, len(relation.key_columns)),
    )


def _upsert(conn: Connection, relation: InstalledRelation, rows: list[tuple[str | None, ...]]) -> None:
    if not rows:
        return
    shape = read_table(conn, relation.target_table)
    assert shape is not None  # noqa: S101  (compiled against it)
    head = RelationHead(
        table=relation.target_table,
        key=relation.key_columns,
        columns=relation.columns,
        rank=relation.rank,
        owned=relation.owned,
        patch=False,
    )
    columns = [list(values) for values in zip(*rows, strict=True)]
    types = [shape.columns[name].type for name in relation.columns]
    try:
        with conn.transaction():
            execute_with_arrays(conn, upsert_statement(shape, head), columns, types)
    except errors.UniqueViolation:
        # Wrong rows hold each other's unique values: take them out first.
        places = [relation.columns.index(name) for name in relation.key_columns]
        _delete(conn, relation, [tuple(str(row[place]) for place in places) for row in rows])
        execute_with_arrays(conn, upsert_statement(shape, head), columns, types)
