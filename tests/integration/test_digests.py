"""Bucket digests: what cheaper ones miss, the same by any plan, and rows of differing buckets read by index."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_tools.stores.postgres import connect, sql
from migration_tools.stores.postgres.digests import Buckets, bucket_digests, choose_buckets, row_hashes
from tests.conftest import Pair

ROWS = sql.SQL("t r")
COLUMNS, TYPES = ["id", "a", "b"], ["bigint", "text", "text"]


@pytest.fixture
def scratch(pair: Pair) -> Iterator[Any]:
    """A connection to a fresh database with an empty table t."""
    with connect("default", "test") as conn:
        conn.execute("CREATE TABLE t (id bigint, a text, b text)")
        yield conn


def put(conn: Any, *rows: tuple[Any, ...]) -> None:
    conn.execute("TRUNCATE t")
    for row in rows:
        conn.execute("INSERT INTO t VALUES (%s, %s, %s)", row)


def digest(conn: Any, *rows: tuple[Any, ...]) -> Any:
    put(conn, *rows)
    return bucket_digests(conn, ROWS, ["id"], COLUMNS, TYPES, 1)


def naive(conn: Any, expression: str, *rows: tuple[Any, ...]) -> Any:
    put(conn, *rows)
    return conn.execute(f"SELECT {expression} FROM t").fetchone()


@pytest.mark.parametrize(
    ("cheaper", "one", "other"),
    [
        ("sum(hashtextextended(a, 0) + hashtextextended(b, 0))", [(1, "x", "y")], [(1, "y", "x")]),
        ("sum(hashtextextended(concat_ws('|', id, a, b), 0))", [(1, "", None)], [(1, None, "")]),
        ("bit_xor(hash_record_extended(t, 0))", [(1, "x", "y")] * 3, [(1, "x", "y")]),
        ("bit_xor(hash_record_extended(t, 0))", [(1, "x", "y")] * 2, [(1, "z", "z")] * 2),
        ("sum(hash_record_extended(t, 0))", [(1, "x", "y")], [(1 << 32, "x", "y")]),
    ],
    ids=["columns swapped", "NULL for ''", "one row three times", "another row twice", "both halves of a bigint"],
)
def test_what_a_cheaper_digest_misses_changes_ours(scratch: Any, cheaper: str, one: Any, other: Any) -> None:
    assert naive(scratch, cheaper, *one) == naive(scratch, cheaper, *other)
    assert digest(scratch, *one) != digest(scratch, *other)


def test_the_digest_does_not_depend_on_the_order_of_rows_or_on_the_plan(scratch: Any) -> None:
    scratch.execute("INSERT INTO t SELECT n, 'a' || n, NULL FROM generate_series(1, 30000) n")
    by_one = bucket_digests(scratch, ROWS, ["id"], COLUMNS, TYPES, 64)
    scratch.execute("CREATE TABLE u AS SELECT * FROM t ORDER BY a DESC; DROP TABLE t; ALTER TABLE u RENAME TO t")
    forced = "debug_parallel_query" if scratch.info.server_version >= 160000 else "force_parallel_mode"
    for setting in (f"{forced} = on", "parallel_setup_cost = 0", "enable_hashagg = off"):
        scratch.execute(f"SET {setting}")
    assert bucket_digests(scratch, ROWS, ["id"], COLUMNS, TYPES, 64) == by_one


def test_a_key_that_is_an_integer_is_bucketed_by_range_and_any_other_by_hash(scratch: Any) -> None:
    scratch.execute("INSERT INTO t SELECT n, '', '' FROM generate_series(-500, 99500) n")
    ranges = choose_buckets(scratch, "t", ["id"], ["integer", "bigint"], 100_000)
    assert (ranges.lowest, ranges.count * ranges.width > 100_000, ranges.width < 1_000) == (-500, True, True)
    assert choose_buckets(scratch, "t", ["id"], ["text", "bigint"], 100_000).width == 0
    scratch.execute("INSERT INTO t VALUES (9223372036854775807, '', ''), (-9223372036854775808, '', '')")
    assert choose_buckets(scratch, "t", ["id"], ["bigint", "bigint"], 100_000).width == 0


def test_rows_outside_the_ranges_fall_into_the_first_and_the_last(scratch: Any) -> None:
    buckets = Buckets(count=64, lowest=0, width=10)
    ends = (-(2**63), -1, 0, 639, 640, 2**63 - 1)
    put(scratch, *[(each, "", "") for each in ends])
    found = bucket_digests(scratch, ROWS, ["id"], COLUMNS, TYPES, buckets)
    assert {bucket: count for bucket, (count, _, _) in found.items()} == {0: 3, 63: 3}


@settings(max_examples=30, deadline=None)
@given(wanted=st.sets(st.integers(0, 63), min_size=1), width=st.integers(1, 2**40), lowest=st.integers(-(2**50), 2**50))
def test_ranges_hold_exactly_the_keys_of_their_buckets(wanted: set[int], width: int, lowest: int) -> None:
    buckets = Buckets(count=64, lowest=lowest, width=width)
    ranges = buckets.ranges(sorted(wanted))
    for bucket in range(64):
        for key in (lowest + bucket * width, lowest + (bucket + 1) * width - 1):
            inside = any((a is None or a <= key) and (b is None or key <= b) for a, b in ranges)
            assert inside == (bucket in wanted)


def test_few_differing_buckets_are_read_by_index_and_many_by_one_scan_with_the_same_rows(scratch: Any) -> None:
    scratch.execute("INSERT INTO t SELECT n, 'a' || n, NULL FROM generate_series(1, 50176) n")
    scratch.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
    scratch.execute("ANALYZE t")
    buckets = choose_buckets(scratch, "t", ["id"], ["bigint", "bigint"], 50_176)
    for wanted in ([0], [3, 4, 9], [buckets.count - 1], list(range(buckets.count))):
        by_scan = dict(row_hashes(scratch, ROWS, ["id"], COLUMNS, TYPES, buckets, wanted))
        before = scans(scratch)
        by_index = dict(row_hashes(scratch, ROWS, ["id"], COLUMNS, TYPES, buckets, wanted, leading="id"))
        assert by_index == by_scan
        assert by_index
        assert scans(scratch) - before == (0 if len(wanted) < 4 else 1)


def scans(conn: Any) -> int:
    """How often the whole table was read."""
    row = conn.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()").fetchone()
    row = conn.execute("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 't'").fetchone()
    return int(row[0])
