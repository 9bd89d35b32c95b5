"""The shop's orders in ClickHouse and Redis: copied, synced and compared while customers write; killed and resumed."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from migration_tools.messaging import lag
from migration_tools.messaging.retention import drop_old
from migration_tools.stores.postgres import canonical, connect
from migration_tools.testing.brokers import EmbeddedRedis
from migration_tools.testing.clickhouse import EmbeddedClickHouseServer
from migration_tools.transfer.replica_copy import copy_replica
from migration_tools.transfer.replica_sync import Sync
from migration_tools.verification.replicas import compare_replica
from tests.integration.replica_rig import ANALYTICS, CACHE, LINES, REPLICAS, SECONDS, SIGKILLED, Rig, customers, thread
from tests.replica_playbook import ReplicatedOrders
from tests.stage import Stage

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def clickhouse() -> Iterator[EmbeddedClickHouseServer]:
    with EmbeddedClickHouseServer() as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def rig(stage: Stage, clickhouse: EmbeddedClickHouseServer, redis: EmbeddedRedis) -> Iterator[Rig]:
    with Rig(stage, ReplicatedOrders, analytics=clickhouse.url, cache=redis.url).settled() as made:
        yield made


def test_replicas_are_copied_synced_and_found_equal_while_customers_write(rig: Rig) -> None:
    with customers(rig):
        rig.run("copy")
        with (
            thread(Sync("default", "orders", REPLICAS[ANALYTICS]).run),
            thread(Sync("default", "orders", REPLICAS[CACHE]).run),
        ):
            assert rig.run("verify")["exit_code"] == 0
    rig.stage.tick()
    rig.run("sync", "--once")
    rig.assert_equal()
    assert [each["behind"] for each in rig.run("status")["evidence"]["replicas"]] == [0, 0, 0]


@pytest.mark.parametrize("point", ["replica.chunk_written@2", "replica.chunk_remembered@2"])
def test_a_copy_killed_at_a_point_goes_on_where_it_stopped(rig: Rig, point: str) -> None:
    name, _, passage = point.partition("@")
    process = rig.process("copy", STRANGLE_POINTS=f"{name}=kill@{passage}")
    assert (process.communicate(timeout=SECONDS), process.returncode)[1] == SIGKILLED
    rig.stage.shop.execute("DELETE FROM orders_orderline WHERE id % 7 = 0")
    rig.stage.shop.execute("UPDATE orders_order SET note = 'after the kill' WHERE id % 5 = 0")
    rig.run("copy")
    assert rig.run("verify")["exit_code"] == 0
    rig.assert_equal()


@pytest.mark.parametrize("point", ["replica.rows_written@2", "replica.position_written@2"])
def test_a_sync_killed_between_effect_and_position_does_the_batch_again(rig: Rig, point: str) -> None:
    rig.run("copy")
    name, _, passage = point.partition("@")
    with customers(rig):
        process = rig.process("sync", STRANGLE_POINTS=f"{name}=kill@{passage}")
        assert (process.communicate(timeout=SECONDS), process.returncode)[1] == SIGKILLED
        rig.run("sync", "--once")
    rig.stage.tick()
    rig.run("sync", "--once")
    assert rig.run("verify")["exit_code"] == 0
    rig.assert_equal()


def test_small_chunks_and_changes_between_them_end_in_the_source_s_state(rig: Rig) -> None:
    shop = rig.stage.shop
    with rig.follower(ANALYTICS) as follower:
        done = False
        for number, chunk in enumerate(copy_replica(follower, rows=40)):
            done = chunk.done
            shop.execute("UPDATE orders_order SET status = %s WHERE id %% 3 = %s", [f"s{number}", number % 3])
            shop.execute("DELETE FROM orders_orderline WHERE order_id IN (%s, %s)", [number + 1, 300 - number])
            shop.execute("DELETE FROM orders_order o WHERE id IN (%s, %s)", [number + 1, 300 - number])
            rig.stage.tick()
        assert done
        rig.stage.tick()
        position, result = compare_replica(follower)
    assert (result.count, result.rows_source, position > 0) == (0, 300 - 2 * (number + 1), True)
    assert rig.held(ANALYTICS) == rig.wanted(ANALYTICS)


def test_every_planted_difference_is_found_named_and_repaired(rig: Rig) -> None:
    rig.run("copy")
    for name in (ANALYTICS, CACHE):
        rig.assert_planted_differences_are_found(name)
    rig.assert_equal()
    error, outcome = rig.failing("verify", "--directory", "/dev/null/x")
    assert (error.returncode, outcome["evidence"]["report"], outcome["evidence"]["by_class"]) == (1, None, {})
    assert "/dev/null/x: Not a directory; name another place with --directory" in str(error)


def test_what_moved_on_during_a_comparison_is_no_difference_but_would_be_to_a_naive_one(rig: Rig) -> None:
    rig.run("copy", "--only", ANALYTICS)
    with rig.follower(ANALYTICS) as follower, rig.follower(ANALYTICS) as other:

        def moves_on() -> None:
            rig.stage.shop.execute("UPDATE orders_order SET note = 'moved on' WHERE id < 20")
            rig.stage.tick()
            other.step()

        shape, digest = follower.bound.shape, follower.store.digest
        with follower.instant() as position:
            follower.catch_up(position)
            moves_on()
            ours = canonical.digest(follower.reader, follower.source_rows(), shape, 64)
            assert ours != digest(shape, 64), "a naive comparison raises a false alarm"

        def digest_later(*args: Any) -> Any:
            moves_on_again()
            return digest(*args)

        def moves_on_again() -> None:
            rig.stage.shop.execute("UPDATE orders_order SET note = 'moved on again' WHERE id < 30")
            rig.stage.tick()
            other.step()

        follower.store.digest = digest_later  # type: ignore[method-assign]
        _, result = compare_replica(follower)
    assert result.differences == []


def test_a_renamed_customer_reaches_the_replicas_of_their_orders(rig: Rig) -> None:
    rig.run("copy")
    rig.stage.shop.execute("UPDATE accounts_user SET first_name = 'Renamed' WHERE id % 2 = 0")
    # The comparison must follow the patches too while it stands at a tick.
    assert rig.run("verify")["exit_code"] == 0
    assert sum("Renamed" in row[2] for row in rig.held(ANALYTICS).values()) > 100
    rig.assert_equal()


def test_retention_keeps_what_a_replica_has_not_applied_and_moves_do_not_wait_for_it(rig: Rig) -> None:
    rig.run("copy", "--only", LINES)
    for number in range(3):
        rig.stage.shop.execute("UPDATE orders_orderline SET quantity = %s WHERE id < 50", [number + 5])
        rig.stage.settle()
    keep = {**_tools(), "STREAM_RETENTION_SECONDS": 0.0}
    with connect("default", "test") as conn:
        with override_settings(MIGRATION_TOOLS=keep):
            drop_old(conn, "orders")
        assert {each.consumer for each in lag.consumers(conn, "orders")} == {"test"}
        behind = {each.consumer: each.events for each in lag.consumers(conn, "orders", replicas=True)}
    assert behind[f"replica {LINES}"] > 0
    rig.run("sync", "--once", "--only", LINES)
    assert rig.held(LINES) == rig.wanted(LINES)


def test_a_replica_whose_records_are_gone_says_so_and_is_copied_anew(rig: Rig) -> None:
    rig.run("copy", "--only", LINES)
    rig.stage.shop.execute("UPDATE orders_orderline SET quantity = 9")
    rig.stage.tick()
    rig.stage.shop.execute("DELETE FROM strangle_stream")
    error, _ = rig.failing("sync", "--once", "--only", LINES)
    assert "copy --only analytics.lines --restart" in str(error)
    rig.run("copy", "--only", LINES, "--restart")
    assert rig.held(LINES) == rig.wanted(LINES)


def test_a_replica_that_was_never_copied_is_refused_and_a_dropped_one_is_forgotten(rig: Rig) -> None:
    error, _ = rig.failing("sync", "--once")
    assert "holds nothing yet; run strangle_replica orders copy --only analytics.orders" in str(error)
    rig.run("copy", "--only", CACHE)
    rig.run("drop", "--only", CACHE)
    assert rig.held(CACHE) == {}
    with connect("default", "test") as conn:
        assert lag.consumers(conn, "orders", replicas=True) == []
    error, _ = rig.failing("status", "--only", "cache.ordr")
    assert "did you mean 'cache.order:{id}'?" in str(error)


def test_a_replica_of_another_playbook_s_rows_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.run("copy", "--only", LINES)
    monkeypatch.setattr(REPLICAS[LINES], "columns", ("qty",))
    error, _ = rig.failing("verify", "--only", LINES)
    assert error.returncode == 4
    assert "--restart" in str(error)


def test_after_the_cutover_a_replica_of_the_monolith_s_stream_is_refused(rig: Rig) -> None:
    rig.run("copy", "--only", LINES)
    rig.stage.shop.execute("UPDATE strangle_ownership SET owner = 'target', epoch = epoch + 1")
    error, _ = rig.failing("verify", "--only", LINES)
    assert "the service owns 'orders' now" in str(error)


def test_a_dry_run_tells_and_touches_nothing(rig: Rig) -> None:
    assert len(rig.run("copy", "--dry-run")["plan"]) == 3
    assert [each["state"] for each in rig.run("status")["evidence"]["replicas"]] == ["not copied"] * 3


def _tools() -> dict[str, Any]:
    from django.conf import settings

    return dict(settings.MIGRATION_TOOLS)
