"""The map's arithmetic: even, the same everywhere, and one more shard moves no more than its share."""

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_tools.errors import ShardingError
from migration_tools.sharding.declaration import find_mistakes
from migration_tools.sharding.mapping import even_map, geographic_map, hash_bucket, plan_of_adding, ranged_map

BUCKETS = 256
# The 99.9 % quantile of chi-square with 255 degrees of freedom.
CHI_SQUARE = 330.5


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=8), st.integers(0, 10**9), st.sampled_from([1, 7, 1000]))
def test_keys_of_any_shape_are_spread_evenly(prefix: str, first: int, step: int) -> None:
    keys = 64 * BUCKETS
    counts = Counter(hash_bucket(f"{prefix}{first + number * step}", BUCKETS) for number in range(keys))
    expected = keys / BUCKETS
    statistic = sum((counts[bucket] - expected) ** 2 / expected for bucket in range(BUCKETS))
    # Twenty draws of a thousandth each would fail one run in fifty; twice the degrees of freedom never by chance.
    assert statistic < 2 * (BUCKETS - 1), statistic


def test_the_seeds_customers_are_spread_as_chance_would() -> None:
    counts = Counter(hash_bucket(f"cust-{number}", BUCKETS) for number in range(64 * BUCKETS))
    assert sum((counts[bucket] - 64) ** 2 / 64 for bucket in range(BUCKETS)) < CHI_SQUARE


def test_every_process_finds_the_same_bucket_whatever_its_hash_seed() -> None:
    script = (
        "from migration_tools.sharding import mapping as m; print(m.hash_bucket('cust-123', 1024), hash('cust-123'))"
    )

    def say(seed: str) -> list[str]:
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        return done.stdout.split()

    said = [say("1"), say("2")]
    assert said[0][0] == said[1][0] == str(hash_bucket("cust-123", 1024))
    assert said[0][1] != said[1][1]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(16, 300))
def test_one_more_shard_moves_its_share_and_nothing_else(shards: int, buckets: int) -> None:
    before = even_map("m", [f"s{number}" for number in range(shards)], buckets)
    taken = plan_of_adding(before, "new")
    assert len(taken) <= buckets / (shards + 1)
    after = Counter("new" if bucket in taken else bucket.shard for bucket in before.buckets)
    assert max(after.values()) - min(after.values()) <= 2
    keys = [f"cust-{number}" for number in range(400)]
    moved = sum(before.locate(key) in taken for key in keys)
    assert moved / 400 <= 1 / (shards + 1) + 0.12


def test_a_modulo_of_shards_moves_almost_everything() -> None:
    """The seed's `hash(customer_id) % num_shards`."""
    keys = [f"cust-{number}" for number in range(2000)]
    assert sum(hash_bucket(key, 4) != hash_bucket(key, 5) for key in keys) > 0.7 * len(keys)


def test_ranges_are_found_by_their_lowest_keys_and_regions_by_name() -> None:
    ranges = ranged_map("m", {0: "s0", 1000: "s1", 2000: "s2"})
    assert [ranges.locate(key).shard for key in (-5, 0, 999, 1000, 1999, 2000, 10**9)] == [
        "s0", "s0", "s0", "s1", "s1", "s2", "s2",
    ]  # fmt: skip
    regions = geographic_map("m", {"eu": "s0", "us": "s1"})
    assert regions.locate("anybody", "eu").shard == "s0"
    with pytest.raises(ShardingError, match="is no integer"):
        ranges.locate("7")
    with pytest.raises(ShardingError, match="has no region 'apac'"):
        regions.locate("x", "apac")
    with pytest.raises(ShardingError, match="split a range"):
        plan_of_adding(ranges, "s9")


def test_all_mistakes_of_a_declaration_are_told() -> None:
    raw = {"STRATEGY": "luck", "EXTRA": 1, "TABLES": [{"name": "x"}], "DATABASES": {"a": {"ALIAS": "nowhere"}}}
    told = list(find_mistakes("m", raw))
    assert len(told) == 4
    assert list(find_mistakes("m", {"TABLES": []})) == [
        "MIGRATION_TOOLS['SHARDS']['m'] must be a dict with 'TABLES' and 'DATABASES'"
    ]
