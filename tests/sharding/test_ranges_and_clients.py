"""Ranges that are cut and joined while written, the map over HTTP, the Django router, and the command."""

import json
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, models
from django.test import RequestFactory

from migration_tools.errors import ShardingError
from migration_tools.kernel import points
from migration_tools.sharding.fetching import HttpMap
from migration_tools.sharding.mapping import ranged_map
from migration_tools.sharding.maps import CachedMap, read_map
from migration_tools.sharding.moving import move
from migration_tools.sharding.ranges import merge, split
from migration_tools.sharding.routing import Place, ShardRouter, at_shard, on_shard
from migration_tools.sharding.views import LocationView, WholeView
from tests.leaf import serving
from tests.sharding.conftest import MAP, Shards, declare, set_up

TOKEN = {"Authorization": "Bearer the token of a client"}


@pytest.fixture
def ranged(shards: Shards, settings: Any) -> Shards:
    """A map by range over a table of integers."""
    for shard in shards.names:
        shards.rows(
            shard, "CREATE TABLE visit (id bigint PRIMARY KEY, bucket int NOT NULL, times int NOT NULL DEFAULT 1)"
        )
    declare(settings, STRATEGY="range", TABLES=[{"table": "visit"}])
    set_up(ranged_map(MAP, {0: "s0", 1000: "s1"}))
    return shards


def visit(key: int) -> None:
    def upsert(place: Place) -> None:
        with connections[place.alias].cursor() as cursor:
            cursor.execute("INSERT INTO visit AS v (id, bucket) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET times ="
                           " v.times + 1", [key, place.bucket])  # fmt: skip

    at_shard(MAP, key, upsert)


def counted(ranged: Shards) -> dict[int, int]:
    return dict(ranged.everywhere("SELECT id, times FROM visit"))


def test_a_range_is_cut_moved_and_joined_again_while_written_and_nothing_is_lost(ranged: Shards) -> None:
    stop, done, failures = threading.Event(), [0] * 40, []

    def work() -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                visit(number % 40)
                done[number % 40] += 1
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for key in range(40):
            while not done[key]:
                assert worker.is_alive(), failures
        made = split(MAP, 0, 20)
        move(MAP, made.number, "s2")
        move(MAP, made.number, "s0")
        merge(MAP, made.number)
        last = split(MAP, 0, 10)
    finally:
        stop.set()
        worker.join(30)
    assert failures == []
    assert counted(ranged) == dict(enumerate(done))
    current = read_map(MAP)
    assert [(bucket.low, bucket.shard) for bucket in current.buckets[1:]] == [(10, "s0"), (1000, "s1")]
    assert ranged.rows("s0", "SELECT min(id) FROM visit WHERE bucket = %s", last.number) == [(10,)]


def test_a_split_killed_before_the_map_knew_is_gone_on_with(ranged: Shards) -> None:
    class Killed(BaseException):
        """What a dying process does not handle."""

    def die() -> None:
        raise Killed

    for key in (5, 25):
        visit(key)
    with points.on("sharding.split", die), pytest.raises(Killed):
        split(MAP, 0, 20)
    made = split(MAP, 0, 20)
    visit(25)
    assert counted(ranged) == {5: 1, 25: 2}
    assert read_map(MAP).locate(25).number == made.number


def test_what_is_no_cut_or_no_neighbour_is_refused(ranged: Shards) -> None:
    for at in (1000, 5000):
        with pytest.raises(ShardingError, match="is not inside range 0"):
            split(MAP, 0, at)
    with pytest.raises(ShardingError, match="no range below it on shard 's1'"):
        merge(MAP, 1)


@pytest.fixture
def http(sharded: Shards, settings: Any) -> Iterator[str]:
    """The map's views over real HTTP."""
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "FEED_TOKENS": {"client": TOKEN["Authorization"][7:]}}

    def answer(path: str, query: Any, headers: Any) -> tuple[int, Any]:
        request = RequestFactory().get(path, query, headers=dict(headers))
        try:
            view = LocationView if path == "/shard-location" else WholeView
            named = {} if path == "/shard-location" else {"name": path.split("/")[2]}
            response = view.as_view()(request, **named)
        finally:
            connections.close_all()
        return response.status_code, json.loads(response.content or b"null")

    with serving(maps=answer) as leaves:
        yield leaves["maps"].url


def test_a_client_finds_a_key_by_http_and_its_map_follows_a_move(http: str, sharded: Shards) -> None:
    import httpx2

    bucket = read_map(MAP).locate("cust-123")
    ask = {"map": MAP, "key": "cust-123"}
    found = httpx2.get(f"{http}/shard-location", params=ask, headers=TOKEN, timeout=60)
    assert found.json() == {
        "map": MAP, "version": 1, "bucket": bucket.number, "epoch": 1, "shard": bucket.shard,
        "endpoint": f"db{bucket.shard[1]}:5432",
    }  # fmt: skip
    client = CachedMap(MAP, fetch=HttpMap(MAP, url=http, token=TOKEN["Authorization"][7:]))
    assert client.get() == client.refresh() == read_map(MAP)
    move(MAP, bucket.number, "s2")
    assert client.get().locate("cust-123").shard == bucket.shard
    assert client.refresh().locate("cust-123").shard == "s2"
    assert httpx2.get(f"{http}/shard-location", params=ask, timeout=60).status_code == 401
    assert httpx2.get(f"{http}/shard-location", params={"map": "none"}, headers=TOKEN, timeout=60).status_code == 404
    with pytest.raises(ShardingError, match="the answer is 401"):
        HttpMap(MAP, url=http, token="wrong")()


def test_models_of_sharded_tables_go_to_the_blocks_shard_and_nowhere_without_one(
    sharded: Shards, settings: Any
) -> None:
    class Customer(models.Model):
        id = models.TextField(primary_key=True)
        bucket = models.IntegerField()

        class Meta:
            db_table = "customer"
            app_label = "sharded_by_test"
            managed = False

    settings.DATABASE_ROUTERS = ["migration_tools.sharding.routing.ShardRouter"]
    assert isinstance(ShardRouter(), ShardRouter)
    with on_shard(MAP, "ada") as place:
        Customer.objects.create(id="ada", bucket=place.bucket)
        assert Customer.objects.all().db == place.alias == read_map(MAP).locate("ada").shard
    with pytest.raises(ShardingError, match="use it inside on_shard"):
        Customer.objects.count()


def command(*args: str) -> Any:
    out = StringIO()
    call_command("strangle_shard", *args, "--format", "json", stdout=out)
    return json.loads(out.getvalue())


def test_the_command_makes_shows_and_adds(shards: Shards, settings: Any) -> None:
    declare(settings)
    assert command("init", MAP, "--on", "s0,s1") == {"map": MAP, "strategy": "hash", "count": 16}
    with pytest.raises(CommandError, match="there is a map 'customers' already"):
        command("init", MAP)
    plan = command("add", MAP, "s2", "--dry-run")["buckets"]
    assert len(plan) == 5
    assert read_map(MAP).version == 1
    assert [each["bucket"] for each in command("add", MAP, "s2")["buckets"]] == [each["bucket"] for each in plan]
    shown = command("show", MAP)
    assert sum(bucket["shard"] == "s2" for bucket in shown["buckets"]) == 5
    assert {bucket["state"] for bucket in shown["buckets"]} == {"owned"}
    with pytest.raises(CommandError, match="has no shard 's9'"):
        command("move", MAP, "0", "--to", "s9")


def test_show_names_the_hot_range(ranged: Shards) -> None:
    for key in [*range(30), 2000]:
        visit(key)
    rows = {bucket["low"]: bucket["rows"] for bucket in command("show", MAP)["buckets"]}
    assert rows == {-(1 << 63): 30, 1000: 1}
    assert command("split", MAP, "0", "--at", "15")["low"] == 15
