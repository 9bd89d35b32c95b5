"""Verify a context: both directions of its mapping over one pair of snapshots; repair what was confirmed."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from migration_tools.capture.projector import InstalledRelation, key_arrays, keyed_query
from migration_tools.errors import TransferError
from migration_tools.messaging.batch import RelationHead
from migration_tools.stores.postgres import Connection, errors, sql, transaction
from migration_tools.stores.postgres.catalog import read_table
from migration_tools.transfer.copy import whole_relations
from migration_tools.transfer.stops import Ends, stopped_at_tick
from migration_tools.transfer.sync import upsert_statement
from migration_tools.verification.compare import compare_relation
from migration_tools.verification.pairing import Pair, paired_snapshots
from migration_tools.verification.report import Difference, TableResult, VerificationReport

Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The owner's direction with a second connection to the receiver."""

    ends: Ends
    receiver_reader: Connection
    direction: str


def verify(
    sides: Sides, *, on_table: Callable[[str, TableResult | None], None] = lambda *_: None
) -> VerificationReport:
    """Compare every projection of a context at one instant, while writes go on.

    First the owner's mapping against the other side's tables. If that is clean, and the context's source owns it, also
    the way back: the reverse mapping of the target's rows against the source's own tables, so that a rollback is
    proven.
    """
    started, clock = time.time(), time.monotonic()
    with paired_snapshots(sides.ends, sides.receiver_reader) as pair:
        tables = _compare_all(pair, on_table)
        if not any(t.differences or t.truncated for t in tables) and sides.direction == "forward":
            back = Pair(stream=pair.stream, position=pair.position, sender=pair.receiver, receiver=pair.sender)
            tables += _compare_all(back, on_table)
    return VerificationReport(
        context=sides.ends.stream,
        direction=sides.direction,
        position=pair.position,
        started=started,
        seconds=time.monotonic() - clock,
        tables=tables,
    )


def _compare_all(pair: Pair, on_table: Callable[[str, TableResult | None], None]) -> list[TableResult]:
    results = []
    for relation in whole_relations(pair.sender, pair.stream):
        on_table(relation.target_table, None)
        results.append(compare_relation(pair, relation))
        on_table(relation.target_table, results[-1])
    return results


def repair(ends: Ends, differences: Iterable[Difference]) -> int:
    """Replace the rows with these keys by what the owner holds at a fresh tick; returns how many keys were written.

    All tables in one transaction, at an exact stop, so live writes cannot come between.

    Raises:
        TransferError: a difference is in the owner's own table, so the way back of the playbook is wrong, not a row.
    """
    by_table: dict[str, set[Key]] = {}
    for difference in differences:
        by_table.setdefault(difference.table, set()).add(difference.key)
    relations = [r for r in whole_relations(ends.sender, ends.stream) if r.target_table in by_table]
    own = sorted(by_table.keys() - {r.target_table for r in relations})
    if own:
        raise TransferError(
            f"the way back into {own} gives other rows than the owner has, so a rollback would change them; "
            f"correct `reverse` in the playbook of {ends.stream!r}, then run strangle_doctor {ends.stream} --mend"
        )
    with stopped_at_tick(ends), transaction(ends.receiver):
        ends.receiver.execute("SELECT set_config('strangle.applying', 'row', true)")
        rows = {relation.number: _rows(ends, relation, by_table[relation.target_table]) for relation in relations}
        for relation in reversed(relations):
            absent = by_table[relation.target_table] - rows[relation.number].keys()
            _delete(ends.receiver, relation, sorted(absent))
        for relation in relations:
            _upsert(ends.receiver, relation, list(rows[relation.number].values()))
    return sum(len(keys) for keys in by_table.values())


def _rows(ends: Ends, relation: InstalledRelation, keys: set[Key]) -> dict[Key, tuple[str | None, ...]]:
    """The sender's rows with these keys, as text, at the stop's tick."""
    names = sql.SQL(", ").join(sql.SQL("r.{}::text").format(sql.Identifier(name)) for name in relation.columns)
    query = sql.SQL("SELECT {} FROM ({}) r").format(names, keyed_query(relation))
    places = [relation.columns.index(name) for name in relation.key_columns]
    found = ends.reader.execute(query, key_arrays(sorted(keys), len(relation.key_types))).fetchall()
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
    try:
        with conn.transaction():
            conn.execute(upsert_statement(shape, head), columns)
    except errors.UniqueViolation:
        # Wrong rows hold each other's unique values: take them out first.
        places = [relation.columns.index(name) for name in relation.key_columns]
        _delete(conn, relation, [tuple(str(row[place]) for place in places) for row in rows])
        conn.execute(upsert_statement(shape, head), columns)
