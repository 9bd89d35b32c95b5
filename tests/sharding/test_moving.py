"""Buckets that move while they are read and written: nothing lost, nothing twice, old maps refused."""

from collections import Counter
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, transaction

from migration_tools.errors import FenceBusy, ShardingError
from migration_tools.kernel import points
from migration_tools.sharding import maps, scattering
from migration_tools.sharding.mapping import Bucket, geographic_map, plan_of_adding
from migration_tools.sharding.maps import CachedMap, cached, read_map
from migration_tools.sharding.moving import move
from migration_tools.sharding.routing import Place, WrongShard, at_shard, on_shard
from migration_tools.sharding.scattering import scatter
from tests.sharding.conftest import MAP, Shards, declare, set_up
from tests.sharding.customers import execute, shopping

KEYS = [f"cust-{number}" for number in range(24)]


def sign_up(key: str) -> None:
    def insert(place: Place) -> None:
        execute(
            place.alias, "INSERT INTO customer (id, bucket, name) VALUES (%s, %s, %s)", key, place.bucket, f"n {key}"
        )

    at_shard(MAP, key, insert)


def buy(key: str, number: str) -> None:
    def insert(place: Place) -> None:
        execute(place.alias, "INSERT INTO purchase (id, bucket, customer_id, cents) VALUES (%s, %s, %s, 100)",
                number, place.bucket, key)  # fmt: skip
        execute(place.alias, "UPDATE customer SET points = points + 1 WHERE id = %s", key)

    at_shard(MAP, key, insert)


def assert_whole(sharded: Shards, acknowledged: list[tuple[str, str]]) -> None:
    """Every acknowledged purchase is there once, points agree, and each row is where the map says."""
    found = sharded.everywhere("SELECT customer_id, id FROM purchase")
    assert Counter(found) == Counter(acknowledged)
    points_of = dict(sharded.everywhere("SELECT id, points FROM customer"))
    assert points_of == {key: count for key, count in Counter(key for key, _ in acknowledged).items()} | {
        key: 0 for key in KEYS if key not in {each for each, _ in acknowledged}
    }
    for bucket in read_map(MAP).buckets:
        for shard in sharded.names:
            held = sharded.rows(shard, "SELECT count(*) FROM customer WHERE bucket = %s", bucket.number)[0][0]
            assert held == 0 or shard == bucket.shard


def test_buckets_move_under_load_and_no_purchase_is_lost_or_doubled(sharded: Shards) -> None:
    for key in KEYS:
        sign_up(key)
    held = []
    with shopping(KEYS, buy, 4) as acknowledged:
        for bucket in plan_of_adding(read_map(MAP), "s2"):
            held.append(move(MAP, bucket.number, "s2").held_seconds)
        back = next(bucket for bucket in read_map(MAP).buckets if bucket.shard == "s2")
        move(MAP, back.number, "s0")
    assert len(held) == 5
    assert len(acknowledged) > 50
    assert_whole(sharded, acknowledged)
    assert Counter(bucket.shard for bucket in read_map(MAP).buckets) == {"s0": 7, "s1": 5, "s2": 4}


POINTS = ["begun", "copied", "drained", "closed", "opened", "published"]


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[] if point == "closed" else [pytest.mark.thorough]) for point in POINTS]
)
def test_a_move_killed_anywhere_is_gone_on_with_by_the_same_command(sharded: Shards, point: str) -> None:
    class Killed(BaseException):
        """What a dying process does not handle."""

    def die() -> None:
        raise Killed

    for key in KEYS:
        sign_up(key)
    bucket = read_map(MAP).locate(KEYS[0])
    with shopping(KEYS, buy, 2) as acknowledged:
        with points.on(f"sharding.{point}", die), pytest.raises(Killed):
            move(MAP, bucket.number, "s2")
        served = sharded.everywhere(
            f"SELECT state FROM strangle_shard_hold WHERE bucket = {bucket.number} AND state IN ('owned', 'leaving')"
        )
        assert len(served) == (0 if point == "closed" else 1), "never two who serve"
        move(MAP, bucket.number, "s2")
        buy(KEYS[0], "after")
        acknowledged.append((KEYS[0], "after"))
    assert sharded.rows("s2", "SELECT 1 FROM purchase WHERE id = 'after'") == [(1,)]
    assert_whole(sharded, acknowledged)


def test_a_client_with_an_old_map_is_refused_by_the_database_and_not_misrouted(sharded: Shards) -> None:
    sign_up("cust-1")
    old = cached(MAP).get()
    bucket = old.locate("cust-1")
    move(MAP, bucket.number, "s2")
    for work in ("SELECT name FROM customer", "UPDATE customer SET name = 'x'"):
        with pytest.raises(WrongShard), on_shard(MAP, "cust-1") as place:
            execute(place.alias, work)
    with pytest.raises(OperationalError, match="is not served here"), transaction.atomic(using=bucket.shard):
        execute(bucket.shard, "INSERT INTO customer (id, bucket) VALUES ('cust-1', %s)", bucket.number)
    assert at_shard(MAP, "cust-1", lambda place: (place.alias, execute(place.alias, "SELECT name FROM customer"))) == (
        "s2", [("n cust-1",)],
    )  # fmt: skip


def test_a_bucket_that_came_back_is_not_the_one_that_an_old_map_knows(sharded: Shards) -> None:
    """The shard serves the bucket again, but a client of before the moves may have missed what was written between."""
    old = cached(MAP).get()
    bucket = old.locate("cust-1")
    move(MAP, bucket.number, "s2")
    move(MAP, bucket.number, bucket.shard)
    with pytest.raises(WrongShard), on_shard(MAP, "cust-1"):
        pass
    assert read_map(MAP).locate("cust-1").epoch == 3


def test_a_transaction_with_an_older_snapshot_cannot_write_behind_a_move(sharded: Shards) -> None:
    sign_up("cust-1")
    bucket = read_map(MAP).locate("cust-1")
    with psycopg.connect(sharded.cluster.dsn(sharded.names[bucket.shard])) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT 1 FROM strangle_shard_hold")
        move(MAP, bucket.number, "s2")
        with pytest.raises(psycopg.Error) as refused:
            old.execute("INSERT INTO customer (id, bucket) VALUES ('late', %s)", [bucket.number])
        assert refused.value.sqlstate == "40S02"


def test_a_long_transaction_makes_the_move_give_up_and_changes_nothing(sharded: Shards, settings: Any) -> None:
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "CUTOVER_BUDGET_SECONDS": 0.3}
    sign_up("cust-1")
    bucket = read_map(MAP).locate("cust-1")
    with psycopg.connect(sharded.cluster.dsn(sharded.names[bucket.shard])) as long:
        long.execute("UPDATE customer SET name = 'mine' WHERE id = 'cust-1'")
        with pytest.raises(FenceBusy):
            move(MAP, bucket.number, "s2")
    buy("cust-1", "p1")
    assert move(MAP, bucket.number, "s2").rows == 2


def test_a_scatter_equals_one_database_also_while_buckets_move(sharded: Shards) -> None:
    for key in KEYS:
        sign_up(key)
    everything = sorted(KEYS)

    def ask(alias: str, buckets: Any) -> Any:
        query = 'SELECT id FROM customer WHERE bucket = ANY (%s) ORDER BY id COLLATE "C"'
        return execute(alias, query, list(buckets))

    def names(limit: int | None) -> list[str]:
        return [name for (name,) in scatter(MAP, ask, order=lambda row: row[0], limit=limit)]

    assert names(None) == everything
    assert names(7) == everything[:7]
    seen = []
    with points.on("sharding.drained", lambda: seen.append(names(None))):
        move(MAP, 3, "s2")
    assert seen == [everything]
    assert names(None) == everything


def test_a_scatter_that_trusts_the_map_counts_moving_rows_twice(sharded: Shards) -> None:
    """Without asking the shards what they serve."""
    for key in KEYS:
        sign_up(key)
    seen = []
    with points.on("sharding.drained", lambda: seen.append(len(sharded.everywhere("SELECT id FROM customer")))):
        move(MAP, read_map(MAP).locate(KEYS[0]).number, "s2")
    assert seen[0] > len(KEYS)


def test_rows_of_a_region_never_leave_its_store(shards: Shards, settings: Any) -> None:
    regions = {"s0": "eu", "s1": "us", "s2": "eu"}
    databases = {name: {"ALIAS": name, "REGION": region} for name, region in regions.items()}
    declare(settings, STRATEGY="geography", DATABASES=databases)
    set_up(geographic_map(MAP, {"eu": "s0", "us": "s1"}))
    eu = read_map(MAP).locate("ada", "eu")
    with on_shard(MAP, "ada", region="eu") as place:
        execute(place.alias, "INSERT INTO customer (id, bucket) VALUES ('ada', %s)", place.bucket)
    with pytest.raises(OperationalError, match="is not served here"):
        execute("s1", "INSERT INTO customer (id, bucket) VALUES ('ada', %s)", eu.number)
    with pytest.raises(ShardingError, match="its rows stay"):
        move(MAP, eu.number, "s1")
    move(MAP, eu.number, "s2")
    assert [shard for shard in regions if shards.rows(shard, "SELECT 1 FROM customer")] == ["s2"]


def test_a_map_in_a_process_never_goes_back() -> None:
    versions = iter([5, 4, 6])
    fetched = CachedMap("m", lambda: maps.ShardMap(name="m", strategy=maps.Strategy.HASH, version=next(versions),
                                                  buckets=(Bucket(number=0, shard="s"),)))  # fmt: skip
    assert [fetched.refresh().version for _ in range(3)] == [5, 5, 6]


def test_a_scatter_gives_up_where_a_bucket_is_served_by_nobody(sharded: Shards, monkeypatch: Any) -> None:
    monkeypatch.setattr(scattering, "PATIENCE_SECONDS", 0.1)
    sharded.rows("s0", "UPDATE strangle_shard_hold SET state = 'gone' WHERE bucket = 0")
    with pytest.raises(ShardingError, match="are not all served"):
        scatter(MAP, lambda alias, buckets: [], order=lambda row: row)
