"""Compare a relation with the table it maps to: bucket digests first, then hashes, then rows that differ."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from migration_tools.capture.projector import InstalledRelation
from migration_tools.stores.postgres import Connection, sql
from migration_tools.stores.postgres.catalog import Table, estimated_rows, read_table
from migration_tools.stores.postgres.digests import Digests, bucket_digests, row_digests, rows_by_key
from migration_tools.verification.classify import classify
from migration_tools.verification.pairing import Pair
from migration_tools.verification.report import Difference, TableResult

LARGEST_REPORT = 1_000
EARLIER_STATES = 50

Key = tuple[str, ...]


def compare_relation(
    pair: Pair,
    relation: InstalledRelation,
    *,
    columns: Sequence[str] | None = None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> TableResult:
    """Find every difference between the relation on the sender and its table on the receiver, within the pair's
    snapshots.

    `columns` narrows the comparison (keys are always in it). Keeps at most LARGEST_REPORT differences; `truncated` says
    how many more there are.
    """
    shape = read_table(pair.receiver, relation.target_table)
    assert shape is not None  # noqa: S101  (installed relations were compiled against it)
    names = [name for name in relation.columns if columns is None or name in columns or name in relation.key_columns]
    types = [shape.columns[name].type for name in names]
    left = sql.SQL("({}) r").format(sql.SQL(relation.query))
    right = sql.SQL("{} r").format(sql.Identifier(relation.target_table))
    buckets = _buckets(estimated_rows(pair.receiver, relation.target_table))
    on_phase("digests")
    sides = ((pair.sender, left), (pair.receiver, right))
    with ThreadPoolExecutor(2) as pool:
        ours, theirs = pool.map(
            lambda s: bucket_digests(s[0], s[1], relation.key_columns, names, types, buckets), sides
        )
    suspects = [bucket for bucket in ours.keys() | theirs.keys() if ours.get(bucket) != theirs.get(bucket)]
    differing: list[Key] = []
    if suspects:
        on_phase("rows of differing buckets")
        with ThreadPoolExecutor(2) as pool:
            ours_rows, theirs_rows = pool.map(
                lambda s: dict(row_digests(s[0], s[1], relation.key_columns, names, types, buckets, suspects)),
                sides,
            )
        differing = sorted(k for k in ours_rows.keys() | theirs_rows.keys() if ours_rows.get(k) != theirs_rows.get(k))
    kept = differing[:LARGEST_REPORT]
    return TableResult(
        projection=relation.projection,
        source_table=relation.source_table,
        target_table=relation.target_table,
        rows_source=_total(ours),
        rows_target=_total(theirs),
        differences=_drill(pair, relation, shape, left, right, names, types, kept) if kept else [],
        truncated=len(differing) - len(kept),
    )


def _total(digests: Digests) -> int:
    return sum(count for count, _, _ in digests.values())


def _buckets(rows: int) -> int:
    """A power of two with a few hundred rows a bucket."""
    return 1 << max(6, min((rows // 256).bit_length(), 16))


def _drill(
    pair: Pair,
    relation: InstalledRelation,
    shape: Table,
    left: sql.Composable,
    right: sql.Composable,
    names: list[str],
    types: list[str],
    keys: list[Key],
) -> list[Difference]:
    ours = rows_by_key(pair.sender, left, relation.key_columns, names, types, keys)
    theirs = rows_by_key(pair.receiver, right, relation.key_columns, names, types, keys)
    earlier = _earlier_states(pair, relation, names, keys)
    orphans = _orphans(pair.receiver, relation, shape, [key for key in keys if key not in ours])
    by_name = dict(zip(names, types, strict=True))
    found = []
    for key in keys:
        difference = classify(
            relation.target_table,
            key,
            names,
            by_name,
            ours.get(key),
            theirs.get(key),
            earlier=earlier.get(key, []),
            orphan=key in orphans,
        )
        if difference is not None:
            found.append(difference)
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
