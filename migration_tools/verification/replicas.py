"""Compare a replica with its source: digests while writes go on, then each suspect key at an exact tick.

The first pass reads the source in a tick's snapshot, and the store after it has applied that tick. The store has no
snapshots and moves on, so a row that differs is only a suspect. Suspects are settled some at a time: the gate keeps the
stream's records out, a fresh tick is read, everything up to it is applied, and now the store stands exactly at what the
snapshot shows. What differs there differs.
"""

from collections.abc import Iterable, Sequence

from migration_tools.stores.canonical import Digests
from migration_tools.stores.ports import Key, Values, VersionedRow
from migration_tools.stores.postgres import canonical, sql
from migration_tools.transfer.replicas import Follower, same_spelling
from migration_tools.verification.classify import classify
from migration_tools.verification.report import Difference, TableResult

LARGEST_REPORT = 1_000
SETTLE_KEYS = 500
ROWS_A_BUCKET = 256


def compare_replica(follower: Follower) -> tuple[int, TableResult]:
    """Every difference between the source and a copied replica, and the position at which the comparison began."""
    bound = follower.bound
    rows = follower.source_rows()
    with follower.instant() as position:
        follower.catch_up(position)
        buckets = _buckets(follower.begun().rows)
        ours = canonical.digest(follower.reader, rows, bound.shape, buckets)
        theirs = follower.store.digest(bound.shape, buckets)
        suspects = [bucket for bucket in ours.keys() | theirs.keys() if ours.get(bucket) != theirs.get(bucket)]
        keys: list[Key] = []
        if suspects:
            left = dict(canonical.scan(follower.reader, rows, bound.shape, buckets, suspects))
            right = dict(follower.store.scan(bound.shape, buckets, suspects))
            keys = sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))
    found = settle(follower, keys)
    return position, TableResult(
        projection=bound.relation.projection,
        source_table=bound.relation.source_table,
        target_table=bound.replica.name,
        rows_source=_total(ours),
        rows_target=_total(theirs),
        differences=found[:LARGEST_REPORT],
        truncated=max(len(found) - LARGEST_REPORT, 0),
    )


def settle(follower: Follower, keys: Sequence[Key]) -> list[Difference]:
    """Which of these rows differ when the replica stands exactly at a tick, and how."""
    shape = follower.bound.shape
    names = [column.name for column in shape.columns]
    types = {column.name: column.type for column in shape.columns}
    found = []
    for at in range(0, len(keys), SETTLE_KEYS):
        some = keys[at : at + SETTLE_KEYS]
        with follower.gate(), follower.instant() as position:
            follower.catch_up(position)
            ours = _source_values(follower, some)
            theirs = follower.store.read(shape, some)
        for key in some:
            held = theirs.get(key)
            values = held.values if held is not None else None
            if ours.get(key) == values:
                continue
            difference = classify(follower.bound.replica.name, key, names, types, ours.get(key), values)
            if difference is not None:
                found.append(difference)
    return found


def repair_replica(follower: Follower, differences: Iterable[Difference]) -> int:
    """Write the source's rows over those that differ, at a fresh tick; returns how many keys were written.

    Guarded by the version rule like everything else: what the store holds at a version that the stream has not reached
    stays, and is found again. Then the replica is to be copied anew.
    """
    shape = follower.bound.shape
    keys = [difference.key for difference in differences]
    for at in range(0, len(keys), SETTLE_KEYS):
        some = keys[at : at + SETTLE_KEYS]
        with follower.gate(), follower.instant() as position:
            texts = _source_texts(follower, some)
            follower.store.upsert(
                shape, [VersionedRow(key=key, version=position, values=texts.get(key)) for key in some]
            )
    return len(keys)


def _source_values(follower: Follower, keys: Sequence[Key]) -> dict[Key, Values]:
    """Canonical values of the source's rows with these keys; inside `instant`."""
    return canonical.values_by_key(follower.reader, _narrowed(follower), follower.bound.shape, keys)


def _source_texts(follower: Follower, keys: Sequence[Key]) -> dict[Key, Values]:
    """PostgreSQL's text of the source's rows with these keys; inside `instant`."""
    shape = follower.bound.shape
    names = sql.SQL(", ").join(sql.SQL("r.{}::text").format(sql.Identifier(column.name)) for column in shape.columns)
    statement = sql.SQL("SELECT {} FROM {} WHERE {}").format(names, _narrowed(follower), canonical.key_condition(shape))
    found = follower.reader.execute(statement, canonical.key_arrays(shape, keys))
    return {shape.key_of(tuple(row)): tuple(row) for row in found}


def _narrowed(follower: Follower) -> sql.Composed:
    """The source's rows; where no cast changes a key, with its column itself under the name, for the index."""
    bound = follower.bound
    if not same_spelling(bound):
        return follower.source_rows()
    places = {name: place for place, name in enumerate(bound.shape.key)}
    names = sql.SQL(", ").join(
        sql.SQL("s.k{} AS {}").format(sql.SQL(str(places[c.name])), sql.Identifier(c.name))
        if c.name in places
        else sql.SQL("s.{}").format(sql.Identifier(c.name))
        for c in bound.shape.columns
    )
    query = sql.SQL(bound.relation.query.replace("%", "%%"))
    return sql.SQL("(SELECT {} FROM ({}) s) r").format(names, query)


def _total(digests: Digests) -> int:
    return sum(count for count, _, _ in digests.values())


def _buckets(rows: int) -> int:
    """A power of two with a few hundred rows a bucket."""
    return 1 << max(6, min((rows // ROWS_A_BUCKET).bit_length(), 16))
