"""Compare a relation with the table it maps to: bucket digests first, then hashes, then rows that differ."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from migration_tools.capture.relations import InstalledRelation
from migration_tools.stores.postgres import Connection, sql
from migration_tools.stores.postgres.catalog import Table, estimated_rows, read_table
from migration_tools.stores.postgres.digests import (
    Buckets,
    Digests,
    bucket_digests,
    choose_buckets,
    row_hashes,
    rows_by_key,
)
from migration_tools.transfer.mapped import rows_within
from migration_tools.transfer.ranges import KeyRange, among, source_condition, target_condition
from migration_tools.verification.classify import classify
from migration_tools.verification.pairing import Pair
from migration_tools.verification.report import Difference, DifferenceKind, TableResult

LARGEST_REPORT = 1_000
EARLIER_STATES = 50
KEYS_AT_ONCE = 5_000
ROWS_IN_MEMORY = 100_000
EVERYTHING = KeyRange(after=None, upto=None)

Key = tuple[str, ...]
Read = TypeVar("Read")


def compare_relation(
    pair: Pair,
    relation: InstalledRelation,
    *,
    columns: Sequence[str] | None = None,
    within: KeyRange = EVERYTHING,
    keep: int = LARGEST_REPORT,
    on_phase: Callable[[str], None] = lambda _: None,
) -> TableResult:
    """Find every difference between the relation on the sender and its table on the receiver, within the pair's
    snapshots and the key range.

    `columns` narrows the comparison (keys are always in it). Keeps at most `keep` differences; `truncated` says how
    many more there are.
    """
    view = _view(pair, relation, columns)
    bounded = replace(
        view, left=_sender_range(pair, relation, within), right=_receiver_range(relation, view.shape, within)
    )
    on_phase("digests")
    buckets = _buckets(pair, view)
    ours, theirs = _both(pair, bounded, lambda conn, rows: _digests(conn, rows, bounded, buckets))
    suspects = sorted(bucket for bucket in ours.keys() | theirs.keys() if ours.get(bucket) != theirs.get(bucket))
    kept: list[Key] = []
    count = 0
    for part in _parts(suspects, ours, theirs):
        on_phase("rows of differing buckets")
        differing = _differing(pair, bounded, buckets, part)
        count += len(differing)
        kept += differing[: keep - len(kept)]
    return _result(relation, _total(ours), _total(theirs), _drill(pair, view, sorted(kept)), count - len(kept))


def compare_keys(pair: Pair, relation: InstalledRelation, keys: Sequence[Key]) -> TableResult:
    """Find every difference among the rows with these keys, looked up by equality; an absent row on both sides is none.

    `rows_source` and `rows_target` count the rows that were found.
    """
    view = _view(pair, relation, None)
    rows_source = rows_target = 0
    differing: list[Key] = []
    for start in range(0, len(keys), KEYS_AT_ONCE):
        part = keys[start : start + KEYS_AT_ONCE]
        bounded = replace(
            view,
            left=_sender_keys(pair, relation, part),
            right=_with_keys(view.right, relation.key_columns, view.key_types, part),
        )
        ours, theirs = _both(pair, bounded, _every_hash(bounded))
        rows_source, rows_target = rows_source + len(ours), rows_target + len(theirs)
        differing += [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
    return _result(relation, rows_source, rows_target, _drill(pair, view, sorted(differing)), 0)


@dataclass(frozen=True, kw_only=True)
class _View:
    """What is compared: `left` is read from the sender and `right` from the receiver, both FROM items with alias r."""

    relation: InstalledRelation
    shape: Table
    left: sql.Composable
    right: sql.Composable
    names: list[str]
    types: list[str]
    seed: int = field(default_factory=lambda: secrets.randbits(63))

    @property
    def key_types(self) -> tuple[str, ...]:
        return tuple(self.shape.columns[name].type for name in self.relation.key_columns)


def _view(pair: Pair, relation: InstalledRelation, columns: Sequence[str] | None) -> _View:
    shape = read_table(pair.receiver, relation.target_table)
    assert shape is not None  # noqa: S101  (installed relations were compiled against it)
    names = [name for name in relation.columns if columns is None or name in columns or name in relation.key_columns]
    return _View(
        relation=relation,
        shape=shape,
        left=sql.SQL("({}) r").format(sql.SQL(relation.query)),
        right=rows_of(relation),
        names=names,
        types=[shape.columns[name].type for name in names],
    )


def _sender_range(pair: Pair, relation: InstalledRelation, within: KeyRange) -> sql.Composable:
    where = None if within == EVERYTHING else source_condition(relation, within)
    return rows_within(pair.sender, relation, where)


def _sender_keys(pair: Pair, relation: InstalledRelation, keys: Sequence[Key]) -> sql.Composable:
    return rows_within(pair.sender, relation, among(relation, keys))


def _receiver_range(relation: InstalledRelation, shape: Table, within: KeyRange) -> sql.Composable:
    whole = rows_of(relation)
    if within == EVERYTHING:
        return whole
    types = tuple(shape.columns[name].type for name in relation.key_columns)
    return sql.SQL("(SELECT * FROM {} WHERE {}) r").format(whole, target_condition(relation, types, within))


def _with_keys(rows: sql.Composable, names: Iterable[str], types: Iterable[str], keys: Sequence[Key]) -> sql.Composable:
    columns = [sql.SQL("r.{}").format(sql.Identifier(name)) for name in names]
    arrays = [
        sql.SQL("{}::text[]::{}[]").format(sql.Literal([key[i] for key in keys]), sql.SQL(type_name))
        for i, type_name in enumerate(types)
    ]
    if len(columns) == 1:
        where = sql.SQL("{} = ANY ({})").format(columns[0], arrays[0])
    else:
        where = sql.SQL("({}) IN (SELECT * FROM unnest({}))").format(
            sql.SQL(", ").join(columns), sql.SQL(", ").join(arrays)
        )
    return sql.SQL("(SELECT * FROM {} WHERE {}) r").format(rows, where)


def _both(pair: Pair, view: _View, read: Callable[[Connection, sql.Composable], Read]) -> tuple[Read, Read]:
    """Read both sides at once."""
    with ThreadPoolExecutor(2) as pool:
        ours, theirs = pool.map(lambda side: read(*side), ((pair.sender, view.left), (pair.receiver, view.right)))
    return ours, theirs


def _digests(conn: Connection, rows: sql.Composable, view: _View, buckets: Buckets) -> Digests:
    return bucket_digests(conn, rows, view.relation.key_columns, view.names, view.types, buckets, seed=view.seed)


def _hashes(
    conn: Connection,
    rows: sql.Composable,
    view: _View,
    buckets: int | Buckets,
    wanted: Sequence[int],
    leading: str | None = None,
) -> dict[Key, int]:
    key = view.relation.key_columns
    return dict(row_hashes(conn, rows, key, view.names, view.types, buckets, wanted, leading=leading, seed=view.seed))


def _every_hash(view: _View) -> Callable[[Connection, sql.Composable], dict[Key, int]]:
    return lambda conn, rows: _hashes(conn, rows, view, 1, [0])


def _differing(pair: Pair, view: _View, buckets: Buckets, wanted: list[int]) -> list[Key]:
    def read(conn: Connection, rows: sql.Composable) -> dict[Key, int]:
        leading: str | None = view.relation.key_columns[0]
        if rows is view.left:
            # Rows that are written out have no index to find ranges by.
            leading = None if view.relation.transforms else "k0"
        return _hashes(conn, rows, view, buckets, wanted, leading)

    ours, theirs = _both(pair, view, read)
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))


def _parts(suspects: list[int], ours: Digests, theirs: Digests) -> Iterator[list[int]]:
    """Differing buckets in groups of so many rows that memory stays flat, however much differs."""
    part: list[int] = []
    rows = 0
    for bucket in suspects:
        size = max(side.get(bucket, (0, 0, 0))[0] for side in (ours, theirs))
        if part and rows + size > ROWS_IN_MEMORY:
            yield part
            part, rows = [], 0
        part.append(bucket)
        rows += size
    if part:
        yield part


def _result(
    relation: InstalledRelation, ours: int, theirs: int, found: list[Difference], truncated: int
) -> TableResult:
    return TableResult(
        projection=relation.projection,
        source_table=relation.source_table,
        target_table=relation.target_table,
        rows_source=ours,
        rows_target=theirs,
        differences=found,
        truncated=truncated,
    )


def rows_of(relation: InstalledRelation) -> sql.Composed:
    """The target's rows that are the relation's, as a FROM item with alias r."""
    target = sql.Identifier(relation.target_table)
    if not relation.share:
        return sql.SQL("{} r").format(target)
    return sql.SQL("(SELECT * FROM {} WHERE {}) r").format(target, sql.SQL(relation.share))


def _total(digests: Digests) -> int:
    return sum(count for count, _, _ in digests.values())


def _buckets(pair: Pair, view: _View) -> Buckets:
    table, key = view.relation.target_table, view.relation.key_columns
    leading = (view.relation.key_types[0], view.key_types[0])
    return choose_buckets(pair.receiver, table, key, leading, estimated_rows(pair.receiver, table))


def _drill(pair: Pair, view: _View, keys: list[Key]) -> list[Difference]:
    if not keys:
        return []
    relation, shape, names, types = view.relation, view.shape, view.names, view.types
    left = _sender_keys(pair, relation, keys) if relation.transforms else view.left
    ours = rows_by_key(pair.sender, left, relation.key_columns, names, types, keys)
    theirs = rows_by_key(pair.receiver, view.right, relation.key_columns, names, types, keys)
    earlier = _earlier_states(pair, relation, names, keys)
    orphans = _orphans(pair.receiver, relation, shape, [key for key in keys if key not in ours])
    by_name = dict(zip(names, types, strict=True))
    found = []
    for key in keys:
        found.append(
            classify(
                relation.target_table,
                key,
                names,
                by_name,
                ours.get(key),
                theirs.get(key),
                earlier=earlier.get(key, []),
                orphan=key in orphans,
            )
            # Their digests differ, so they are not equal, whatever their texts look like.
            or Difference(table=relation.target_table, key=key, kind=DifferenceKind.CHANGED)
        )
    return found


def _earlier_states(
    pair: Pair, relation: InstalledRelation, names: list[str], keys: list[Key]
) -> dict[Key, list[tuple[str | None, ...]]]:
    """Older states of these rows that the stream still remembers: a target that equals one has lost an update."""
    places = [relation.columns.index(name) for name in names]
    states: dict[Key, list[tuple[str | None, ...]]] = {}
    rows = pair.sender.execute(
        """SELECT key, values FROM strangle_stream WHERE stream = %s AND relation = %s AND kind = 'r' AND position <= %s
           AND key[1] = ANY (%s) ORDER BY position""",
        [pair.stream, relation.number, pair.position, [key[0] for key in keys]],
    )
    for key, values in rows:
        states.setdefault(tuple(key), []).append(tuple(values[place] for place in places))
    return {key: list(islice(reversed(found[:-1]), EARLIER_STATES)) for key, found in states.items()}


def _orphans(conn: Connection, relation: InstalledRelation, shape: Table, keys: list[Key]) -> set[Key]:
    """Which of these target rows refer to a row that is not there."""
    if not keys:
        return set()
    found: set[Key] = set()
    key_texts = sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in relation.key_columns)
    for reference in shape.references:
        pairs = list(zip(reference.columns, reference.target_columns, strict=True))
        match = sql.SQL(" AND ").join(
            sql.SQL("p.{} = t.{}").format(sql.Identifier(b), sql.Identifier(a)) for a, b in pairs
        )
        filled = sql.SQL(" AND ").join(sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(a)) for a, _ in pairs)
        statement = sql.SQL(
            "SELECT {} FROM {} t WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {}) AND {}::text = ANY (%s)"
        ).format(
            key_texts,
            sql.Identifier(relation.target_table),
            filled,
            sql.Identifier(reference.target),
            match,
            sql.SQL("t.{}").format(sql.Identifier(relation.key_columns[0])),
        )
        found |= {tuple(row) for row in conn.execute(statement, [[key[0] for key in keys]])}
    return found & set(keys)
