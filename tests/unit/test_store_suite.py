"""The conformance suite of stores passes a right store and catches each planted way to be wrong."""

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_tools.stores.canonical import (
    Digests,
    Kind,
    RowHash,
    bucket_of,
    canonical,
    digest_rows,
    kind_of,
    row_hash,
    row_text,
)
from migration_tools.stores.ports import Held, Key, Progress, Shape, Store, Values, VersionedRow, newest
from migration_tools.testing.stores import StoreConformance, canonical_values

PROMISES = {
    name: method
    for name, method in inspect.getmembers(StoreConformance, inspect.isfunction)
    if name.startswith("test_")
}


class Disk:
    """What a store in memory keeps between two openings."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Key, VersionedRow]] = {}
        self.progress: dict[str, Progress] = {}


class MemoryStore:
    """A right store, as short as can be; its subclasses below are each wrong in one way."""

    def __init__(self, disk: Disk):
        self.disk = disk

    def prepare(self, shape: Shape) -> None:
        self.disk.rows.setdefault(shape.name, {})

    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        for each in newest(rows):
            self.take(self.disk.rows[shape.name], each)

    def take(self, held: dict[Key, VersionedRow], given: VersionedRow) -> None:
        if given.key not in held or held[given.key].version <= given.version:
            held[given.key] = given

    def living(self, shape: Shape) -> dict[Key, Held]:
        return {
            key: Held(version=each.version, values=canonical_values(shape, each.values))
            for key, each in self.disk.rows[shape.name].items()
            if each.values is not None
        }

    def read(self, shape: Shape, keys: Collection[Key]) -> dict[Key, Held]:
        return {key: held for key, held in self.living(shape).items() if key in set(keys)}

    def digest(self, shape: Shape, buckets: int) -> Digests:
        return digest_rows(((key, held.values) for key, held in self.living(shape).items()), buckets)

    def scan(self, shape: Shape, buckets: int, wanted: Collection[int]) -> Iterator[tuple[Key, RowHash]]:
        for key, held in self.living(shape).items():
            if bucket_of(key, buckets) in wanted:
                yield key, row_hash(held.values)

    def progress(self, shape: Shape) -> Progress | None:
        return self.disk.progress.get(shape.name)

    def remember(self, shape: Shape, progress: Progress) -> None:
        self.disk.progress[shape.name] = progress

    def drop(self, shape: Shape) -> None:
        self.disk.rows.pop(shape.name, None)
        self.disk.progress.pop(shape.name, None)

    def close(self) -> None:
        """Nothing is open."""


class LastWriterWins(MemoryStore):
    def take(self, held: dict[Key, VersionedRow], given: VersionedRow) -> None:
        held[given.key] = given


class NoTombstones(MemoryStore):
    def take(self, held: dict[Key, VersionedRow], given: VersionedRow) -> None:
        if given.key not in held or held[given.key].version <= given.version:
            held[given.key] = given
            if given.values is None:
                del held[given.key]


class DeletesWithoutVersions(MemoryStore):
    def take(self, held: dict[Key, VersionedRow], given: VersionedRow) -> None:
        if given.values is None:
            held[given.key] = given
        else:
            super().take(held, given)


class TombstonesOnlyForKnownRows(MemoryStore):
    def take(self, held: dict[Key, VersionedRow], given: VersionedRow) -> None:
        if given.values is not None or given.key in held:
            super().take(held, given)


class DeadForGood(MemoryStore):
    def take(self, held: dict[Key, VersionedRow], given: VersionedRow) -> None:
        if given.key not in held or held[given.key].values is not None:
            super().take(held, given)


class FirstOfABatch(MemoryStore):
    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        super().upsert(shape, list({each.key: each for each in reversed(rows)}.values()))


class NullIsEmpty(MemoryStore):
    def take(self, held: dict[Key, VersionedRow], given: VersionedRow) -> None:
        values = None if given.values is None else tuple(value or "" for value in given.values)
        super().take(held, VersionedRow(key=given.key, version=given.version, values=values))


class Milliseconds(MemoryStore):
    def take(self, held: dict[Key, VersionedRow], given: VersionedRow) -> None:
        values: Values | None = given.values
        if values is not None:
            values = tuple(v[:23] + "+00" if v and v.endswith("+00") and len(v) > 26 else v for v in values)
        super().take(held, VersionedRow(key=given.key, version=given.version, values=values))


class JoinsKeys(MemoryStore):
    def take(self, held: dict[Key, VersionedRow], given: VersionedRow) -> None:
        for key in [key for key in held if ":".join(key) == ":".join(given.key) and key != given.key]:
            del held[key]
        super().take(held, given)


class CutsBatches(MemoryStore):
    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        super().upsert(shape, rows[:9_999])


class PositionFirst(MemoryStore):
    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        super().upsert(shape, rows)
        before = self.progress(shape)
        if before is not None:
            self.remember(shape, Progress(declaration=before.declaration, position=max(r.version for r in rows)))


class GreatestPositionWins(MemoryStore):
    def remember(self, shape: Shape, progress: Progress) -> None:
        before = self.progress(shape)
        if before is None or before.position <= progress.position:
            super().remember(shape, progress)


class OneProgress(MemoryStore):
    def remember(self, shape: Shape, progress: Progress) -> None:
        for name in self.disk.rows:
            self.disk.progress[name] = progress


class ForgetsOnPrepare(MemoryStore):
    def prepare(self, shape: Shape) -> None:
        self.disk.rows[shape.name] = {}


class KeepsTombstonesOfTheDropped(MemoryStore):
    def drop(self, shape: Shape) -> None:
        for key, held in self.disk.rows.get(shape.name, {}).items():
            self.disk.rows[shape.name][key] = VersionedRow(key=key, version=held.version + 1, values=None)
        self.disk.progress.pop(shape.name, None)


class CountsOnly(MemoryStore):
    def digest(self, shape: Shape, buckets: int) -> Digests:
        return {bucket: (count, 0, 0) for bucket, (count, _, _) in super().digest(shape, buckets).items()}


def broken_promise(kind: Callable[[Disk], Store]) -> str | None:
    """The first promise that a store does not keep; the one that takes longest is tried last."""
    for name in sorted(PROMISES, key=lambda name: ("large" in name, name)):
        disk = Disk()
        try:
            PROMISES[name](StoreConformance(), lambda disk=disk: kind(disk))
        except (AssertionError, KeyError, ValueError):
            return name
    return None


def test_a_right_store_keeps_every_promise() -> None:
    assert broken_promise(MemoryStore) is None


@pytest.mark.parametrize("wrong", MemoryStore.__subclasses__(), ids=lambda wrong: wrong.__name__)
def test_each_way_to_be_wrong_is_caught(wrong: Any) -> None:
    assert broken_promise(wrong) is not None


# Few letters, so that rows which only look alike are met often.
VALUES = st.none() | st.text("1:-a", max_size=4)
UNHURRIED = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])


@UNHURRIED
@given(st.tuples(VALUES, VALUES), st.tuples(VALUES, VALUES))
def test_no_two_rows_have_one_text(first: Values, second: Values) -> None:
    assert (row_text(first) == row_text(second)) == (first == second)


def test_a_text_that_only_joins_its_values_takes_two_rows_for_one() -> None:
    joined = [":".join(value or "" for value in values) for values in (("a", None), ("a", ""))]
    assert joined[0] == joined[1]


@UNHURRIED
@given(st.floats(), st.floats())
def test_floats_are_alike_when_their_bits_are(first: float, second: float) -> None:
    texts = [canonical(Kind.DOUBLE, "NaN" if x != x else repr(x)) for x in (first, second)]
    assert (texts[0] == texts[1]) == (repr(first) == repr(second))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bigint", Kind.INTEGER),
        ("numeric(12,2)", Kind.DECIMAL),
        ("numeric", Kind.TEXT),
        ("numeric(2,4)", Kind.TEXT),
        ("numeric(12,2)[]", Kind.TEXT),
        ("timestamp(3) without time zone", Kind.TIMESTAMP),
        ("timestamp with time zone", Kind.MOMENT),
        ("timestamp with time zone[]", Kind.TEXT),
        ("character varying(10)", Kind.TEXT),
        ("jsonb", Kind.TEXT),
    ],
)
def test_what_a_type_is_to_a_store(name: str, kind: Kind) -> None:
    assert kind_of(name) is kind
