"""A relay that sleeps: whoever writes wakes it, whatever the order of lock, write, commit and look."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from migration_tools.capture.projector import RelationProjector
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging import wake
from migration_tools.messaging.relay import Relay
from migration_tools.messaging.wake import Sleep
from migration_tools.stores.postgres import Connection, connect
from tests.races.scene import NEW_EVENT, SECONDS, Background, open_transaction, until
from tests.stage import STREAM, Stage

NEVER = threading.Event()


@pytest.fixture
def sleepy(settings: Any) -> None:
    """Relays sleep although the run's cluster allows prepared transactions."""
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "RELAY_SLEEPS": "always"}


@contextmanager
def listener() -> Iterator[tuple[Connection, Sleep]]:
    """A session that pauses as a leading relay does; its last news is long ago."""
    with connect("default", "a sleeper") as conn:
        clock = iter(range(1_000, 1_000_000, 1_000))
        yield conn, Sleep(conn, STREAM, clock=lambda: float(next(clock)))


def asleep(stage: Stage) -> bool:
    """Whether a relay of the stream holds the lock by which writers know that it sleeps."""
    row = stage.shop.execute(
        """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'
             AND classid::bigint = %s
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
        [int(LockClass.SLEEP)],
    ).fetchone()
    return bool(row and row[0])


@pytest.mark.usefixtures("sleepy")
def test_a_writer_under_way_keeps_the_relay_awake_until_its_commit(stage: Any) -> None:
    with listener() as (_, sleep), stage.pair.connect("shop", "shop_app") as writer:
        with writer.transaction():
            writer.execute(NEW_EVENT, ["under way"])
            sleep.pause(NEVER)
            assert not sleep.asleep, "the writer believes that the relay is awake, so it must be"
        sleep.pause(NEVER)
        assert sleep.asleep


@pytest.mark.usefixtures("sleepy")
def test_a_writer_that_begins_while_the_relay_sleeps_wakes_it_with_its_commit_and_not_before(stage: Any) -> None:
    with listener() as (_, sleep), stage.pair.connect("shop", "shop_app") as writer:
        sleep.pause(NEVER)
        with writer.transaction():
            writer.execute(NEW_EVENT, ["wakes"])
            sleep.pause(NEVER)
            assert sleep.asleep, "nothing is committed yet"
        sleep.pause(NEVER)
        assert not sleep.asleep


@pytest.mark.usefixtures("sleepy")
def test_a_raw_change_of_a_captured_table_wakes_the_relay_as_an_event_does(stage: Any) -> None:
    with listener() as (_, sleep), stage.pair.connect("shop", "shop_app") as writer:
        sleep.pause(NEVER)
        writer.execute("UPDATE orders_order SET note = 'raw' WHERE id = 1")
        sleep.pause(NEVER)
        assert not sleep.asleep


@pytest.mark.usefixtures("sleepy")
def test_while_the_relay_is_awake_nobody_notifies(stage: Any) -> None:
    with connect("default", "ears") as ears, stage.pair.connect("shop", "shop_app") as writer:
        ears.execute(f"LISTEN {wake.WAKE_CHANNEL}")
        writer.execute(NEW_EVENT, ["quiet"])
        assert list(ears.notifies(timeout=0.1)) == []
        with listener() as (_, sleep):
            sleep.pause(NEVER)
            assert sleep.asleep
            writer.execute(NEW_EVENT, ["loud"])
            assert [notice.payload for notice in ears.notifies(timeout=SECONDS, stop_after=1)] == [STREAM]


@pytest.mark.usefixtures("sleepy")
def test_a_transaction_that_can_be_prepared_is_never_made_to_notify(stage: Any, settings: Any) -> None:
    """The danger is real where an operator forces it, so by default a relay of such a server does not sleep."""
    with listener() as (_, sleep), stage.pair.connect("shop", "shop_app") as writer:
        sleep.pause(NEVER)
        writer.execute("BEGIN")
        writer.execute(NEW_EVENT, ["prepared"])
        with pytest.raises(Exception, match="cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTI"):
            writer.execute("PREPARE TRANSACTION 'x'")
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "RELAY_SLEEPS": "auto"}
        with connect("default", "another") as conn:
            assert not wake.may_sleep(conn), "the test's cluster allows prepared transactions"


def slowest_of_writers(stage: Stage, monkeypatch: pytest.MonkeyPatch, *, look_seconds: float) -> float:
    """Seconds until the slowest of many writes was numbered; each comes as the relay tires, sleeps or wakes."""
    monkeypatch.setattr(wake, "AWAKE_SECONDS", 0.003)
    monkeypatch.setattr(wake, "LOOK_SECONDS", look_seconds)
    stop = threading.Event()
    relay = Background(lambda: Relay(STREAM, RelationProjector()).run(stop))
    until(lambda: asleep(stage), "the relay sleeps")
    slowest = 0.0
    for number in range(150):
        threading.Event().wait((number % 13) / 1_000)
        stage.shop.execute(NEW_EVENT, [str(number)])
        began = time.monotonic()
        until(lambda number=number: numbered(stage) > number, "it is numbered")
        slowest = max(slowest, time.monotonic() - began)
        if slowest > look_seconds - 0.2:
            break
    stop.set()
    stage.shop.execute(NEW_EVENT, ["wakes it"])
    relay.outcome()
    return slowest


@pytest.mark.usefixtures("sleepy")
def test_writers_at_random_are_numbered_at_once_by_a_relay_that_falls_asleep_between_them(
    stage: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were one of them missed, only the look unasked would find it: long after a test's patience has ended."""
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "RELAY_LEASE_SECONDS": 60.0}
    assert slowest_of_writers(stage, monkeypatch, look_seconds=50.0) < SECONDS


@pytest.mark.usefixtures("sleepy")
def test_a_relay_that_sleeps_without_the_writers_lock_misses_them_until_it_looks_unasked(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.shop.execute(wake.TRIGGER.replace(str(int(LockClass.SLEEP)), "0"))
    assert slowest_of_writers(stage, monkeypatch, look_seconds=1.2) > 1.0


def numbered(stage: Stage) -> int:
    """How many events have a position."""
    row = stage.shop.execute("SELECT count(*) FROM strangle_stream WHERE kind = 'e'").fetchone()
    return int(row[0]) if row else 0


@pytest.mark.usefixtures("sleepy")
def test_without_its_trigger_the_outbox_is_polled_and_the_next_migrate_puts_the_trigger_back(stage: Any) -> None:
    stage.shop.execute("DROP TRIGGER wake_relay ON strangle_outbox")
    with listener() as (conn, sleep):
        sleep.pause(NEVER)
        assert not sleep.asleep
        with stage.pair.connect("shop", "shop_owner"):
            wake.install_wake(None, using="default")
        assert wake.may_sleep(conn)


def test_a_trigger_of_an_earlier_release_is_replaced_on_every_leaf_by_the_next_migrate(stage: Any) -> None:
    stage.shop.execute("CREATE OR REPLACE FUNCTION strangle_wake() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'")
    stage.shop.execute(re.sub(r"WHEN \(.*\)\n", "", wake.TRIGGER))
    made = """SELECT count(*), count(*) FILTER (WHERE pg_get_triggerdef(t.oid) LIKE '%pg_try_advisory_xact_lock_shared%'
              AND tgenabled = 'A') FROM pg_trigger t WHERE tgname = 'wake_relay'"""
    assert stage.shop.execute(made).fetchone() == (8, 0)
    wake.install_wake(None, using="default")
    assert stage.shop.execute(made).fetchone() == (8, 8)


def test_a_migrate_beside_a_long_write_gives_up_the_trigger_and_not_the_shop(stage: Any, settings: Any) -> None:
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "DDL_LOCK_TIMEOUT_SECONDS": 0.1}
    stage.shop.execute("ALTER TABLE strangle_outbox DISABLE TRIGGER wake_relay")
    with open_transaction(stage) as writer:
        writer.execute(NEW_EVENT, ["long"])
        wake.install_wake(None, using="default")
        with connect("default", "another") as conn:
            assert not wake.may_sleep(conn)
    wake.install_wake(None, using="default")
    with connect("default", "another") as conn:
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "RELAY_SLEEPS": "always"}
        assert wake.may_sleep(conn)


@pytest.mark.usefixtures("sleepy")
def test_an_outbox_made_anew_of_partitions_gets_its_trigger_with_the_next_migrate(stage: Any) -> None:
    for statement in (
        "ALTER TABLE strangle_outbox RENAME TO former",
        "CREATE TABLE strangle_outbox (LIKE former INCLUDING DEFAULTS) PARTITION BY RANGE (occurred_at)",
        "CREATE TABLE part (LIKE former INCLUDING DEFAULTS)",
        "CREATE TRIGGER wake_relay AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION strangle_wake()",
        "ALTER TABLE strangle_outbox ATTACH PARTITION part FOR VALUES FROM (MINVALUE) TO (MAXVALUE)",
    ):
        stage.shop.execute(statement)
    wake.install_wake(None, using="default")
    with listener() as (_, sleep):
        sleep.pause(NEVER)
        assert sleep.asleep
        stage.shop.execute(NEW_EVENT.replace("(stream,", "(seq, stream,").replace("('orders',", "(1, 'orders',"), ["x"])
        sleep.pause(NEVER)
        assert not sleep.asleep


@pytest.mark.usefixtures("sleepy")
def test_a_relay_that_finds_what_nobody_announced_stays_awake(stage: Any) -> None:
    """As with the log as source, or when the trigger was switched off while the relay slept."""
    with connect("default", "a sleeper") as conn:
        now = [1_000.0]
        sleep = Sleep(conn, STREAM, clock=lambda: now[0])
        now[0] += 1
        for _ in range(2):
            sleep.pause(NEVER)
        assert sleep.asleep
        sleep.news()
        now[0] += wake.AWAKE_SECONDS + 1
        sleep.pause(NEVER)
        assert not sleep.asleep
        now[0] += wake.SLEEPLESS_SECONDS
        sleep.pause(NEVER)
        assert sleep.asleep
