"""A customer who moves to another region while they buy: nothing lost, nothing twice, nothing left behind."""

import json
import signal
import threading
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.test import RequestFactory

from migration_tools.errors import ShardingError
from migration_tools.kernel import points
from migration_tools.sharding import relocating
from migration_tools.sharding.homes import home_of
from migration_tools.sharding.maps import cached, read_map
from migration_tools.sharding.moving import move
from migration_tools.sharding.relocating import CannotRelocate, Relocation
from migration_tools.sharding.routing import WrongShard, on_shard
from migration_tools.sharding.scattering import scatter
from migration_tools.sharding.views import LocationView
from tests.races.scene import Background, until
from tests.sharding.conftest import MAP
from tests.sharding.customers import execute, shopping
from tests.sharding.regions import CUSTOMERS, Regions, assert_whole, buy, regions

__all__ = ["regions"]

SECONDS = 60.0


def asked(number: int = 1, source: str = "eu", target: str = "us") -> Relocation:
    return Relocation(id=f"r{number}", map=MAP, key="ada", source=source, target=target, consent="letter 17")


def everybody() -> list[str]:
    """All customers of all regions, by one scatter."""

    def ask(alias: str, buckets: Any) -> Any:
        return execute(alias, 'SELECT id FROM customer WHERE bucket = ANY (%s) ORDER BY id COLLATE "C"', list(buckets))

    return [name for (name,) in scatter(MAP, ask, order=lambda row: row[0])]


@pytest.mark.thorough
def test_customers_move_there_and_back_as_a_saga_while_all_buy_and_all_are_counted(regions: Regions) -> None:
    counted, done = [], threading.Event()

    def count() -> None:
        while not done.is_set():
            counted.append(everybody())
        connections.close_all()

    with regions.working(), shopping(CUSTOMERS, buy, 3) as acknowledged:
        counting = Background(count)
        for source, target in (("eu", "us"), ("us", "eu")):
            saga = regions.begin("ada", source, target)
            until(lambda saga=saga: regions.status(saga) == "completed", "she has moved", SECONDS)  # type: ignore[misc]
        until(lambda: len(acknowledged) > 30, "they buy", SECONDS)
        done.set()
        counting.outcome()
    assert buy("ada", "last") == "eu"
    assert_whole(regions, [*acknowledged, ("ada", "last")], {})
    assert counted
    assert all(each == list(CUSTOMERS) for each in counted), "never missing, never twice"
    told = regions.conn.execute("SELECT count(*) FROM strangle_outbox WHERE payload::text LIKE '%%n ada%%'").fetchone()
    assert told == (0,), "no message holds a row"


KILLED = ["closed", "copied", "verified", "leaves", "left", "opened", "settled", "erased"]


@pytest.mark.thorough
def test_a_relocation_killed_at_each_step_is_gone_on_with_by_the_next_process(regions: Regions) -> None:
    """SIGKILL at every point, the last first, so that who follows comes to their own end; under purchases."""
    places, saga = ["eu", "us"], ""
    with shopping(CUSTOMERS, buy, 2) as acknowledged:
        for point in [*reversed(KILLED), ""]:
            working = regions.process(**({"STRANGLE_POINTS": f"sharding.key_{point}=kill"} if point else {}))

            def ended(saga: str = saga, working: Any = working) -> bool:
                return not saga or working.poll() is not None or regions.status(saga) == "completed"

            until(ended, f"who follows is at {point}, or at the end", SECONDS)
            if point and working.poll() is None:
                saga = regions.begin("ada", *places)
                places.reverse()
            if point:
                assert working.wait(SECONDS) == -signal.SIGKILL, point
        working.kill()
        working.wait()
    assert regions.status(saga) == "completed"
    assert_whole(regions, acknowledged, {"ada": {"eu": "s0", "us": "s1"}[places[0]]})


@pytest.mark.thorough
def test_a_relocation_killed_on_its_way_back_leaves_the_customer_where_she_was(regions: Regions) -> None:
    """The copy differs: a trigger of the other store writes something else."""
    regions.shards.rows("s1", MANGLING)
    with shopping(CUSTOMERS, buy, 2) as acknowledged:
        for point in ("discarded", "reopened"):
            victim = regions.process(STRANGLE_POINTS=f"sharding.key_{point}=kill")
            saga = regions.begin("ada", "eu", "us")
            assert victim.wait(SECONDS) == -signal.SIGKILL, point
            follower = regions.process()
            try:
                until(lambda saga=saga: regions.status(saga) == "compensated", f"{point}: it ends", SECONDS)  # type: ignore[misc]
            finally:
                follower.kill()
                follower.wait()
            assert regions.reason(saga) == "verify: differs"
    assert_whole(regions, acknowledged, {})


MANGLING = """
    CREATE FUNCTION mangle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'x'; RETURN NEW; END $$;
    CREATE TRIGGER mangled BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION mangle()"""


def test_a_copy_that_differs_or_is_not_wished_turns_back_and_she_buys_where_she_was(regions: Regions) -> None:
    with regions.working():
        for consent, reason in (("", "close: no_consent"), ("letter 17", "verify: differs")):
            regions.shards.rows("s1", MANGLING if consent else "SELECT 1")
            saga = regions.begin("ada", "eu", "us", consent=consent)
            until(lambda saga=saga: regions.status(saga) == "compensated", "it turns back", SECONDS)  # type: ignore[misc]
            assert regions.reason(saga) == reason
    assert buy("ada", "p1") == "eu"
    assert_whole(regions, [("ada", "p1")], {})
    assert home_of(MAP, "ada") == ""


def test_a_purchase_under_way_as_its_customer_is_closed_comes_along(regions: Regions) -> None:
    """Closing waits for its commit; what comes after closing waits for the other region."""
    with psycopg.connect(regions.shards.cluster.dsn(regions.shards.names["s0"])) as early:
        early.execute("INSERT INTO purchase (id, bucket, customer_id, cents) VALUES ('p1', 0, 'ada', 100)")
        early.execute("UPDATE customer SET points = points + 1 WHERE id = 'ada'")
        closing = Background(lambda: relocating.close(asked()))
        until(lambda: waits(regions), "closing waits")
        assert closing.running()
        early.commit()
        closing.outcome()
    late = Background(lambda: buy("ada", "p2"))
    assert buy("bob", "p3") == "eu", "others are not held up"
    for work in (relocating.copy, relocating.verify, relocating.switch, relocating.erase):
        assert late.running()
        if work is relocating.switch:
            with points.on("sharding.key_opened", lambda: until(lambda: not late.running(), "she buys", SECONDS)):
                work(asked())
            break
        work(asked())
    assert late.outcome() == "us"
    relocating.erase(asked())
    assert_whole(regions, [("ada", "p1"), ("ada", "p2"), ("bob", "p3")], {"ada": "s1"})


def waits(regions: Regions) -> bool:
    query = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    return bool(regions.shards.rows("s0", query)[0][0])


def test_an_older_snapshot_cannot_write_behind_the_closing_of_a_key(regions: Regions) -> None:
    with psycopg.connect(regions.shards.cluster.dsn(regions.shards.names["s0"])) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT 1 FROM customer")
        relocating.close(asked())
        with pytest.raises(psycopg.Error) as refused:
            old.execute("INSERT INTO purchase (id, bucket, customer_id, cents) VALUES ('p1', 0, 'ada', 100)")
        assert refused.value.sqlstate == "40S02"


def test_each_step_may_come_twice_and_one_that_comes_after_its_undoing_has_no_effect(regions: Regions) -> None:
    for work in (relocating.close, relocating.close, relocating.copy, relocating.copy, relocating.discard):
        work(asked(1))
    with pytest.raises(CannotRelocate, match="was undone"):
        relocating.copy(asked(1))
    relocating.reopen(asked(1))
    with pytest.raises(CannotRelocate, match="was undone"):
        relocating.close(asked(1))
    with pytest.raises(ShardingError, match="expects its key as closed"):
        relocating.verify(asked(1))
    assert_whole(regions, [], {})
    steps = (relocating.close, relocating.copy, relocating.verify, relocating.switch)
    for work in steps:
        work(asked(2))
        work(asked(2)) if work is not relocating.verify else None
    relocating.close(asked(3, "us", "eu"))
    with pytest.raises(ShardingError, match="still erases the key"):
        relocating.copy(asked(3, "us", "eu"))
    relocating.erase(asked(2))
    relocating.erase(asked(2))
    with pytest.raises(ShardingError, match="expects its key as closed"):
        relocating.copy(asked(2))
    assert regions.of("ada") == {"s1": 1}


def test_the_old_region_refuses_a_key_that_left_and_its_bucket_takes_that_along(
    regions: Regions, settings: Any
) -> None:
    relocating.close(asked())
    with pytest.raises(ShardingError, match="1 keys of bucket 0"):
        move(MAP, 0, "s2")
    for work in (relocating.copy, relocating.verify, relocating.switch, relocating.erase):
        work(asked())
    assert read_map(MAP).between == 0
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "FEED_TOKENS": {"client": "t" * 20}}
    asked_by_http = {"map": MAP, "key": "ada", "region": "eu"}
    request = RequestFactory().get("/", asked_by_http, headers={"Authorization": "Bearer " + "t" * 20})
    answer: Any = LocationView.as_view()(request)
    found = json.loads(answer.content)
    assert (found["region"], found["shard"]) == ("us", "s1")
    move(MAP, 0, "s2")
    cached(MAP).refresh()
    with on_shard(MAP, "bob", region="eu") as place:
        assert place.alias == "s2"
    with pytest.raises(WrongShard), on_shard(MAP, "ada", region="eu"):
        pass
    assert buy("ada", "p1") == "us"
    assert buy("bob", "p2") == "eu"
    assert_whole(regions, [("ada", "p1"), ("bob", "p2")], {"ada": "s1", "bob": "s2", "cy": "s2"})
