"""The conformance suite of stores: what a replica's store must hold to, whatever the engine.

Subclass it in a test module of yours, and say how your store is opened; pytest does the rest::

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def opened(self, tmp_path) -> Callable[[], Store]:
            return lambda: MyStore(str(tmp_path))

`opened` may be called several times in one test, never while an earlier store of it is open: it gives the same data
again, as after a restart. Each test drops what it made.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from migration_tools.stores.canonical import bucket_of, canonical, digest_rows, row_hash
from migration_tools.stores.ports import Column, Key, Progress, Shape, Store, Values, VersionedRow
from migration_tools.testing.store_rows import AWKWARD, AWKWARD_KEYS, EVERYTHING, LETTERS, PAIRS

Opener = Callable[[], Store]
BUCKETS = 64
LARGE_BATCH = 10_000


class StoreConformance:
    """One method, one promise of `migration_tools.stores.ports.Store`."""

    def test_rows_are_read_back_as_they_were_written(self, opened: Opener) -> None:
        with prepared(opened, EVERYTHING) as store:
            store.upsert(EVERYTHING, [row(EVERYTHING, 1, values) for values in AWKWARD])
            expect(store, EVERYTHING, AWKWARD)

    def test_null_and_the_empty_text_differ(self, opened: Opener) -> None:
        with prepared(opened, LETTERS) as store:
            store.upsert(LETTERS, [row(LETTERS, 1, ("1", None, "")), row(LETTERS, 1, ("2", "", None))])
            expect(store, LETTERS, [("1", None, ""), ("2", "", None)])

    def test_keys_of_several_columns_and_of_odd_text_are_told_apart(self, opened: Opener) -> None:
        with prepared(opened, PAIRS) as store:
            store.upsert(PAIRS, [row(PAIRS, 1, values) for values in AWKWARD_KEYS])
            expect(store, PAIRS, AWKWARD_KEYS)
            gone = AWKWARD_KEYS[0]
            store.upsert(PAIRS, [row(PAIRS, 2, gone, gone=True)])
            expect(store, PAIRS, AWKWARD_KEYS[1:])

    def test_the_newest_version_is_held(self, opened: Opener) -> None:
        with prepared(opened, LETTERS) as store:
            for version in (1, 2, 3):
                store.upsert(LETTERS, [row(LETTERS, version, ("1", f"v{version}", None))])
            expect(store, LETTERS, [("1", "v3", None)])
            assert store.read(LETTERS, [("1",)])[("1",)].version == 3

    def test_an_older_version_changes_nothing(self, opened: Opener) -> None:
        with prepared(opened, LETTERS) as store:
            store.upsert(LETTERS, [row(LETTERS, 7, ("1", "new", None))])
            store.upsert(LETTERS, [row(LETTERS, 3, ("1", "old", "old"))])
            store.upsert(LETTERS, [row(LETTERS, 6, ("1", "old", None), gone=True)])
            expect(store, LETTERS, [("1", "new", None)])

    def test_several_versions_in_one_batch_leave_the_newest(self, opened: Opener) -> None:
        with prepared(opened, LETTERS) as store:
            states = [row(LETTERS, v, ("1", f"v{v}", None)) for v in (2, 5, 3)]
            store.upsert(LETTERS, [*states, row(LETTERS, 4, ("1", None, None), gone=True)])
            expect(store, LETTERS, [("1", "v5", None)])

    def test_a_batch_applied_twice_is_applied_once(self, opened: Opener) -> None:
        with prepared(opened, LETTERS) as store:
            batch = [row(LETTERS, n, (str(n % 3), f"v{n}", None)) for n in range(1, 10)]
            for _ in range(2):
                store.upsert(LETTERS, batch)
            expect(store, LETTERS, [("0", "v9", None), ("1", "v7", None), ("2", "v8", None)])

    def test_a_deleted_row_is_gone_and_an_older_version_does_not_bring_it_back(self, opened: Opener) -> None:
        with prepared(opened, LETTERS) as store:
            store.upsert(LETTERS, [row(LETTERS, 1, ("1", "a", None)), row(LETTERS, 1, ("2", "b", None))])
            store.upsert(LETTERS, [row(LETTERS, 5, ("1", None, None), gone=True)])
            expect(store, LETTERS, [("2", "b", None)])
            store.upsert(LETTERS, [row(LETTERS, 4, ("1", "resurrected", None))])
            expect(store, LETTERS, [("2", "b", None)])

    def test_a_deletion_of_a_row_never_seen_still_refuses_its_older_copy(self, opened: Opener) -> None:
        with prepared(opened, LETTERS) as store:
            store.upsert(LETTERS, [row(LETTERS, 5, ("1", None, None), gone=True)])
            store.upsert(LETTERS, [row(LETTERS, 4, ("1", "copied", None))])
            expect(store, LETTERS, [])

    def test_a_deleted_row_can_be_inserted_again(self, opened: Opener) -> None:
        with prepared(opened, LETTERS) as store:
            store.upsert(LETTERS, [row(LETTERS, 1, ("1", "first", "x"))])
            store.upsert(LETTERS, [row(LETTERS, 2, ("1", None, None), gone=True)])
            store.upsert(LETTERS, [row(LETTERS, 3, ("1", "again", None))])
            expect(store, LETTERS, [("1", "again", None)])

    def test_any_order_with_duplicates_ends_in_the_newest_state(self, opened: Opener) -> None:
        for seed in range(3):
            choose = random.Random(seed)
            history = [
                row(LETTERS, n, (str(choose.randrange(6)), f"v{n}", None), gone=choose.random() < 0.3)
                for n in range(1, 60)
            ]
            delivered = [*history, *choose.sample(history, 20)]
            choose.shuffle(delivered)
            with prepared(opened, LETTERS) as store:
                while delivered:
                    size = choose.randrange(1, 25)
                    store.upsert(LETTERS, delivered[:size])
                    delivered = delivered[size:]
                last = {each.key: each for each in history}
                expect(store, LETTERS, [each.values for each in last.values() if each.values is not None])

    def test_a_large_batch_is_taken_whole(self, opened: Opener) -> None:
        rows: list[Values] = [(str(n), f"näme {n}", None if n % 2 else "") for n in range(LARGE_BATCH)]
        with prepared(opened, LETTERS) as store:
            store.upsert(LETTERS, [row(LETTERS, 1, values) for values in rows])
            expect(store, LETTERS, rows, keys=200)

    def test_a_batch_is_done_again_after_an_end_before_its_position(self, opened: Opener) -> None:
        """A process killed between the effect and the position begins the batch anew; what it did is kept once."""
        batch = [row(LETTERS, n, (str(n % 2), f"v{n}", None), gone=n == 7) for n in range(5, 9)]
        with prepared(opened, LETTERS) as store:
            store.remember(LETTERS, Progress(declaration="d", position=4))
            store.upsert(LETTERS, batch)
            store.close()
            store = opened()
            try:
                assert store.progress(LETTERS) == Progress(declaration="d", position=4)
                store.upsert(LETTERS, batch)
                store.remember(LETTERS, Progress(declaration="d", position=8))
                expect(store, LETTERS, [("0", "v8", None)])
                assert store.progress(LETTERS) == Progress(declaration="d", position=8)
            finally:
                store.close()

    def test_progress_is_kept_for_each_replica_and_the_last_one_counts(self, opened: Opener) -> None:
        with prepared(opened, LETTERS) as store, prepared(lambda: store, PAIRS, closing=False):
            assert store.progress(LETTERS) is None
            for position in (3, 4, 2):
                progress = Progress(declaration="é", position=position, upto=("7", "\t'"), rows=2, done=position == 2)
                store.remember(LETTERS, progress)
            store.remember(PAIRS, Progress(declaration="e", position=9))
            assert store.progress(LETTERS) == progress
            assert store.progress(PAIRS) == Progress(declaration="e", position=9)

    def test_preparing_twice_keeps_the_rows_and_dropping_twice_is_no_error(self, opened: Opener) -> None:
        with prepared(opened, LETTERS) as store:
            store.upsert(LETTERS, [row(LETTERS, 1, ("1", "a", None))])
            store.remember(LETTERS, Progress(declaration="d", position=1))
            store.prepare(LETTERS)
            expect(store, LETTERS, [("1", "a", None)])
            for _ in range(2):
                store.drop(LETTERS)
            assert store.progress(LETTERS) is None
            store.prepare(LETTERS)
            expect(store, LETTERS, [])
            # The tombstones are gone with the rows: a new copy may begin at any version.
            store.upsert(LETTERS, [row(LETTERS, 1, ("1", "a", None))])
            expect(store, LETTERS, [("1", "a", None)])

    def test_digests_are_the_source_s_and_every_planted_difference_is_found(self, opened: Opener) -> None:
        planted = list(_corruptions())
        right = [*AWKWARD, *(values for values, _ in planted if values is not None)]
        with prepared(opened, EVERYTHING) as store:
            store.upsert(EVERYTHING, [row(EVERYTHING, 9, values) for values in right])
            ours = reference(EVERYTHING, right)
            assert store.digest(EVERYTHING, BUCKETS) == ours
            store.upsert(EVERYTHING, [corrupt for _, corrupt in planted])
            keys = {corrupt.key for _, corrupt in planted}
            theirs = store.digest(EVERYTHING, BUCKETS)
            differing = {bucket for bucket in ours.keys() | theirs.keys() if ours.get(bucket) != theirs.get(bucket)}
            assert differing == {bucket_of(key, BUCKETS) for key in keys}
            assert _suspects(store, right, differing) == keys
            store.upsert(EVERYTHING, [_mended(before, corrupt) for before, corrupt in planted])
            assert store.digest(EVERYTHING, BUCKETS) == ours


def row(shape: Shape, version: int, values: Values, *, gone: bool = False) -> VersionedRow:
    """A row, or the end of one with the same key."""
    return VersionedRow(key=shape.key_of(values), version=version, values=None if gone else values)


def reference(shape: Shape, rows: Iterable[Values]) -> dict[int, tuple[int, int, int]]:
    """The digests of rows by the functions that every engine is held to."""
    return digest_rows(((shape.key_of(values), canonical_values(shape, values)) for values in rows), BUCKETS)


def canonical_values(shape: Shape, values: Values) -> Values:
    """A row's canonical values."""
    return tuple(canonical(column.kind, value) for column, value in zip(shape.columns, values, strict=True))


def expect(store: Store, shape: Shape, rows: Sequence[Values], *, keys: int | None = None) -> None:
    """The store holds exactly these rows: by digest, by scan and by key (of the first `keys`)."""
    wanted = {shape.key_of(values): canonical_values(shape, values) for values in rows}
    assert store.digest(shape, BUCKETS) == digest_rows(wanted.items(), BUCKETS)
    assert dict(store.scan(shape, BUCKETS, range(BUCKETS))) == {key: row_hash(v) for key, v in wanted.items()}
    some = dict(list(wanted.items())[:keys])
    assert {key: held.values for key, held in store.read(shape, list(some)).items()} == some
    assert store.read(shape, [tuple("-404" for _ in shape.key)]) == {}


@contextmanager
def prepared(opened: Opener, shape: Shape, *, closing: bool = True) -> Iterator[Store]:
    """The store with room for the shape, dropped at the end by whichever instance is alive then."""
    store = opened()
    store.drop(shape)
    store.prepare(shape)
    try:
        yield store
    finally:
        if closing:
            store.close()
            store = opened()
        store.drop(shape)
        if closing:
            store.close()


def _corruptions() -> Iterator[tuple[Values | None, VersionedRow]]:
    """One of each kind, each in a row of its own: (what is right, what is there), as if somebody had written it.

    At the version that is held, so that the store takes it.
    """
    numbers = itertools.count(1_000)
    for place, column in enumerate(EVERYTHING.columns):
        if column.name in EVERYTHING.key:
            continue
        for other in (_other(column, AWKWARD[0][place]), None):
            right = (str(next(numbers)), *AWKWARD[0][1:])
            yield right, row(EVERYTHING, 9, (*right[:place], other, *right[place + 1 :]))
    missing = (str(next(numbers)), *AWKWARD[0][1:])
    yield missing, row(EVERYTHING, 9, missing, gone=True)
    yield None, row(EVERYTHING, 9, (str(next(numbers)), *AWKWARD[0][1:]))


def _mended(right: Values | None, corrupt: VersionedRow) -> VersionedRow:
    return VersionedRow(key=corrupt.key, version=corrupt.version, values=right)


def _other(column: Column, text: str | None) -> str:
    """A slightly different value of the same type."""
    return next(values[place] for values in AWKWARD[1:] for place in [EVERYTHING.columns.index(column)]
                if values[place] is not None and values[place] != text) or ""  # fmt: skip


def _suspects(store: Store, right: Sequence[Values], buckets: set[int]) -> set[Key]:
    ours = {EVERYTHING.key_of(values): row_hash(canonical_values(EVERYTHING, values)) for values in right}
    ours = {key: hashed for key, hashed in ours.items() if bucket_of(key, BUCKETS) in buckets}
    theirs = dict(store.scan(EVERYTHING, BUCKETS, buckets))
    return {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
