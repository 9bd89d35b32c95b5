"""The log's order is not the order in which commits become visible: each case staged, and its naive variant losing."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psutil
import pytest

from migration_tools.capture import log_reader
from migration_tools.capture.applying import mark_applying
from migration_tools.capture.installation import install, remove
from migration_tools.capture.log_reader import read_source
from migration_tools.kernel import points
from migration_tools.kernel.snapshots import Snapshot
from migration_tools.stores.postgres import connect, pgoutput, slots
from tests.integration.test_log import logged
from tests.operators import killed
from tests.races.scene import Background, note, open_transaction, put_again, remark, until
from tests.stage import STREAM, Stage

pytestmark = pytest.mark.thorough

__all__ = ["logged"]


@contextmanager
def nobody_confirms(stage: Stage) -> Iterator[None]:
    """Let synchronous commits wait for a standby that is not there: in the log, flushed, and not visible."""
    setting = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
    with stage.pair.connect("shop") as conn:
        try:
            for each in (setting, "SELECT pg_reload_conf()"):
                conn.execute(each)
            until(lambda: _standbys(conn) == "nobody", "the server has read its settings")
            yield
        finally:
            for each in ("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"):
                conn.execute(each)
            until(lambda: _standbys(conn) == "", "the server has read its settings")


def _standbys(conn: Any) -> str:
    row = conn.execute("SHOW synchronous_standby_names").fetchone()
    return str(row[0])


def committed_in_the_log_only(stage: Stage) -> None:
    """Tick while a commit is in the log and not visible yet, then let it be visible and settle."""

    def write() -> None:
        with stage.pair.connect("shop") as conn:
            conn.execute("SET synchronous_commit = on")
            note(conn, 1, "in the log first")

    with nobody_confirms(stage):
        writer = Background(write)
        until(lambda: _waits_for_a_standby(stage), "the commit waits for its standby")
        note(stage.shop, 2, "meanwhile")
        stage.settle()
        assert remark(stage, 1) != "in the log first"
    writer.outcome()
    stage.settle()


def _waits_for_a_standby(stage: Stage) -> bool:
    row = stage.shop.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"
    ).fetchone()
    return bool(row and row[0])


def test_a_commit_that_is_in_the_log_before_it_is_visible_waits_for_the_tick_that_sees_it(logged: Stage) -> None:
    logged.backfill()
    committed_in_the_log_only(logged)
    assert remark(logged, 1) == "in the log first"
    assert logged.differences() == []


def test_taking_what_the_log_holds_and_reading_the_row_at_once_loses_it(
    logged: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trusting(Snapshot):
        def sees(self, xid: int) -> bool:
            return True

    monkeypatch.setattr(log_reader, "Snapshot", Trusting)
    monkeypatch.setattr(log_reader, "news_since", lambda xid, before: True)
    logged.backfill()
    committed_in_the_log_only(logged)
    assert [row[1][0] for row in logged.differences()] == [1]


def visible_before_it_is_flushed(stage: Stage) -> None:
    """Commit without waiting for the disk, and tick at once and again."""
    stage.settle()
    for order in range(1, 7):
        with stage.pair.connect("shop") as conn:
            conn.execute("SET synchronous_commit = off")
            note(conn, order, "unflushed")
            stage.settle()
    stage.settle()


@contextmanager
def nobody_else_flushes(stage: Stage) -> Iterator[None]:
    """The server's WAL writer, which flushes five times a second, stands still during the block."""
    row = stage.shop.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'").fetchone()
    assert row is not None
    writer = psutil.Process(row[0])
    writer.suspend()
    try:
        yield
    finally:
        writer.resume()


def test_a_commit_that_is_visible_before_it_is_flushed_is_in_the_tick_that_sees_it(logged: Stage) -> None:
    logged.backfill()
    logged.shop.execute("UPDATE orders_order SET note = 'unflushed' WHERE id = 1")
    logged.tick()
    taken = logged.shop.execute("SELECT count(*) FROM strangle_stream WHERE key = '{1}' AND kind = 'r'").fetchone()
    assert taken is not None
    assert taken[0] >= 1
    visible_before_it_is_flushed(logged)
    assert logged.differences() == []


def test_decoding_without_a_flush_loses_it(logged: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "flush_log", slots.log_end)
    logged.backfill()
    with nobody_else_flushes(logged):
        visible_before_it_is_flushed(logged)
    assert logged.differences() != []


def test_open_transactions_savepoints_and_prepared_ones_end_in_any_order(logged: Stage) -> None:
    logged.backfill()
    with open_transaction(logged) as early, open_transaction(logged) as prepared:
        note(early, 1, "low")
        prepared.tpc_begin("prepared in the log")
        note(prepared, 3, "prepared")
        prepared.tpc_prepare()
        note(logged.shop, 2, "high")
        logged.settle()
        with early.transaction(force_rollback=True):
            note(early, 4, "undone")
        logged.settle()
        early.commit()
        logged.settle()
        prepared.tpc_commit()
    logged.settle()
    assert [remark(logged, key) for key in (1, 2, 3)] == ["low", "high", "prepared"]
    assert logged.differences() == []


@pytest.mark.parametrize("point", ["log.flushed", "log.read", "tick.before_row"])
def test_a_reader_that_dies_at_any_point_repeats_its_reading_and_takes_nothing_twice(logged: Stage, point: str) -> None:
    logged.backfill()
    logged.tick()
    put_again(logged.shop, 1)

    def die() -> None:
        raise ConnectionError("the reader's connection is gone")

    head = logged.tick()
    note(logged.shop, 2, "read twice")
    with points.on(point, die), pytest.raises(ConnectionError):
        logged.tick()
    assert logged.tick() > head
    twice = logged.shop.execute(
        """SELECT count(*) - count(DISTINCT (relation, key)) FROM strangle_stream WHERE position > %s""", [head]
    ).fetchone()
    assert twice == (0,)
    end = logged.tick()
    assert logged.tick() == end
    logged.settle()
    assert logged.differences() == []


@pytest.mark.parametrize("point", ["log.read", "log.advanced", "tick.before_commit"])
def test_a_relay_killed_with_the_log_in_its_hands_loses_nothing(logged: Stage, point: str) -> None:
    logged.backfill()
    note(logged.shop, 1, "before")
    logged.tick()
    note(logged.shop, 2, "when it was killed")
    killed(logged.pair, "strangle_relay --once", point)
    logged.settle()
    assert remark(logged, 2) == "when it was killed"
    assert logged.differences() == []


def test_advancing_the_slot_before_the_tick_has_committed_loses_it(
    logged: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that everybody writes first: read, acknowledge, then store."""

    def peek_and_take(conn: Any, name: str, publication: str, *, upto: int | None = None) -> Any:
        found = list(peek(conn, name, publication, upto=upto))
        slots.advance_slot(conn, name, upto or 0)
        return found

    def die() -> None:
        raise ConnectionError("the reader's connection is gone")

    logged.backfill()
    logged.settle()
    peek = slots.peek
    monkeypatch.setattr(slots, "peek", peek_and_take)
    monkeypatch.setattr(log_reader.LogReader, "_catch_up", lambda self, conn, source: None)
    note(logged.shop, 1, "acknowledged too early")
    with points.on("tick.before_commit", die), pytest.raises(ConnectionError):
        logged.tick()
    logged.settle()
    assert [row[1][0] for row in logged.differences()] == [1]


@pytest.mark.parametrize("point", ["log.published", "log.slot_made", "log.installed"])
def test_an_installation_cut_off_anywhere_is_completed_by_the_same_call(logged: Stage, point: str) -> None:
    def die() -> None:
        raise ConnectionError("the operator's connection is gone")

    with connect("default", "test") as conn:
        remove(conn, STREAM, wait=lambda _: None)
        with points.on(point, die), pytest.raises(ConnectionError):
            install(conn, logged.compiled.source, wait=lambda _: None)
        note(logged.shop, 1, "between")
        install(conn, logged.compiled.source, wait=lambda _: None)
        # What was cut off while it ended is ended by the same call, too.
        for ending in ("log.last_tick", "log.slot_dropped"):
            with points.on(ending, die), pytest.raises(ConnectionError):
                install(conn, replace(logged.compiled.source, tables=()), wait=lambda _: None)
        remove(conn, STREAM, wait=lambda _: None)
        assert read_source(conn, STREAM) is None
        install(conn, logged.compiled.source, wait=lambda _: None)
    logged.backfill()
    note(logged.shop, 2, "after")
    logged.settle()
    assert logged.differences() == []


@pytest.mark.parametrize("to_log", [True, False], ids=["triggers to log", "log to triggers"])
def test_the_source_is_changed_while_customers_write_and_nothing_is_lost(
    logged: Stage, to_log: bool, settings: Any
) -> None:
    from tests.stage import write_at_random

    by_log = logged.compiled.source
    by_triggers = replace(by_log, tables=tuple(replace(t, logged=False) for t in by_log.tables))
    logged.backfill()
    before, after = (by_triggers, by_log) if to_log else (by_log, by_triggers)
    stop = threading.Event()
    with connect("default", "test") as conn:
        install(conn, before, wait=lambda _: None)
        writers = [Background(_writing(logged, seed, stop, write_at_random)) for seed in (1, 2)]
        with logged.running():
            threading.Event().wait(0.3)
            install(conn, after, wait=lambda s: threading.Event().wait(s) and None)
            threading.Event().wait(0.3)
            stop.set()
            for writer in writers:
                writer.outcome()
        assert (read_source(conn, STREAM) is not None) is to_log
    logged.settle()
    assert logged.differences() == []


def _writing(stage: Stage, seed: int, stop: threading.Event, write: Callable[..., int]) -> Callable[[], int]:
    return lambda: write(stage.pair, seed, stop)


def marked_in_a_savepoint(stage: Stage) -> None:
    """End the apply path's mark in a savepoint, and write as an application right after it."""
    with stage.pair.connect("shop", "shop_owner") as conn, conn.transaction():
        mark_applying(conn, "row")
        with conn.transaction():
            with conn.transaction(force_rollback=True):
                mark_applying(conn, "row")
            mark_applying(conn, "")
        conn.execute("UPDATE accounts_user SET last_name = 'Written after it' WHERE id = 3")
    stage.settle()


def test_a_mark_that_ended_just_before_a_write_does_not_cover_it(logged: Stage) -> None:
    logged.backfill()
    for _ in range(3):
        marked_in_a_savepoint(logged)
    assert logged.differences() == []


def test_in_the_order_in_which_the_decoder_gives_them_it_would(logged: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgoutput, "_messages_first", lambda run: run)
    logged.backfill()
    for _ in range(12):
        marked_in_a_savepoint(logged)
    assert logged.differences() != []
