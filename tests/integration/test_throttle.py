"""Each probe of the throttle with the condition made true: the next chunk waits, says why, and goes on afterwards."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections

from migration_tools.errors import Interrupted, SettingsError
from migration_tools.kernel.limits import Limits, limit_mistakes, may_run_at
from migration_tools.stores.postgres import connect
from migration_tools.testing.postgres import EmbeddedPostgres
from migration_tools.transfer import control
from migration_tools.transfer.control import Wish
from migration_tools.transfer.probes import (
    Backends,
    ErrorRate,
    Lag,
    Probe,
    ReplicaLag,
    Schedule,
    WalKept,
    WriteLatency,
    make_probes,
)
from migration_tools.transfer.throttle import Throttle
from tests.races.scene import Background, until
from tests.stage import STREAM

# What becomes true while a chunk begins holds the next one. Told in chunks: a time would be the machine's.
CHUNKS_AT_MOST = 1
QUIET = Limits(WRITE_P99_SECONDS=None, LOCK_WAITERS=None, WAL_KEPT_BYTES=None, DEADLOCKS_PER_SECOND=None)


class Copy:
    """A copy whose chunks are a counter: what the throttle lets pass, in a thread of its own."""

    def __init__(self, *probes: Probe) -> None:
        self.said: list[str] = []
        self.noted: list[str] = [""]
        self.chunks = 0
        self.stop = threading.Event()
        control.begin(STREAM)
        self.throttle = Throttle(STREAM, probes, wait=self._wait, say=self.said.append, note=self.noted.append)

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Interrupted("stopped")

    def _run(self) -> None:
        with suppress(Interrupted):
            while True:
                self.throttle()
                self.chunks += 1
                self._wait(0.01)

    @contextmanager
    def running(self) -> Iterator["Copy"]:
        work = Background(self._run)
        try:
            until(lambda: self.chunks > 2 or not work.running(), "the copy runs")
            yield self
        finally:
            self.stop.set()
            work.outcome()

    def stands(self) -> bool:
        return self.noted[-1].startswith("throttled")

    def stood(self) -> bool:
        """Whether it ever stood, even if it has gone on since."""
        return bool(self.said)

    def moves_on(self) -> None:
        before = self.chunks
        until(lambda: not self.stands() and self.chunks > before + 2, "the copy goes on")


@pytest.fixture
def source(stage: Any) -> Iterator[psycopg.Connection[Any]]:
    """The throttle's connection to the monolith."""
    with connect("default", "throttle") as conn:
        yield conn


def holds(copy: Copy, condition: Callable[[], Any], said: str) -> int:
    """Make the condition true and return how many chunks passed until the copy stood; none must pass after that."""
    condition()
    before = copy.chunks
    until(copy.stands, "the copy stands")
    at = copy.chunks
    copy.stop.wait(0.2)
    assert copy.chunks == at
    assert copy.said[-1].startswith("throttled: ")
    assert said in copy.said[-1]
    return at - before


def test_a_consumer_that_falls_behind_holds_the_next_chunk(stage: Any, source: Any) -> None:
    stage.consume()
    with Copy(Lag(source, STREAM, 0.3)).running() as copy:

        def fall_behind() -> None:
            stage.shop.execute("UPDATE orders_order SET note = 'x' WHERE id = 1")
            stage.tick()

        holds(copy, fall_behind, "consumer 'test' is")
        assert control.read_control(STREAM).holding.startswith("consumer 'test' is")
        stage.consume()
        stage.consume()
        copy.moves_on()
    assert control.read_control(STREAM).holding == ""


def test_slow_commits_hold_the_next_chunk(stage: Any, source: Any) -> None:
    """Another session holds the row that the copy times its writes on; so does a disk that is overloaded."""
    with Copy(WriteLatency(source, STREAM, 0.1)).running() as copy, stage.pair.connect("shop") as other:
        with other.transaction():
            other.execute("UPDATE strangle_backfill_control SET reason = reason")
            other.execute("SELECT pg_sleep(0.3)")
        until(copy.stood, "the copy stood")
        assert "a write takes" in copy.said[-1]
        copy.moves_on()


def test_a_lock_storm_holds_the_next_chunk(stage: Any, source: Any) -> None:
    with Copy(Backends(source, "monolith", active=None, waiting=3)).running() as copy:
        with storm(stage, 5) as waiting:
            passed = holds(copy, waiting, " sessions wait for locks on the monolith (limit 3)")
        assert passed <= CHUNKS_AT_MOST
        copy.moves_on()


def test_many_active_backends_hold_the_next_chunk(stage: Any, source: Any) -> None:
    with Copy(Backends(source, "monolith", active=3, waiting=None)).running() as copy:
        with storm(stage, 5) as waiting:
            passed = holds(copy, waiting, "backends are active on the monolith (limit 3)")
        assert passed <= CHUNKS_AT_MOST
        copy.moves_on()


def test_who_waits_for_a_lock_of_another_database_of_the_server_is_not_counted(stage: Any, source: Any) -> None:
    lock = "LOCK TABLE sales_order"

    def wait() -> None:
        with stage.pair.connect("orders") as conn, conn.transaction():
            conn.execute(lock)

    with stage.orders.transaction():
        stage.orders.execute(lock)
        waiting = Background(wait)
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sales_order'::regclass"
        until(lambda: stage.orders.execute(query).fetchone() == (1,), "it waits")
        assert Backends(source, "monolith", active=None, waiting=0).look() is None
    waiting.outcome()


@contextmanager
def storm(stage: Any, sessions: int) -> Iterator[Callable[[], None]]:
    """So many writers of one row that another session holds; the yielded call starts them and awaits their waiting."""
    work: list[Background] = []
    with stage.pair.connect("shop") as holder:

        def write() -> None:
            with stage.pair.connect("shop", "shop_app") as conn:
                conn.execute("UPDATE orders_order SET note = 'x' WHERE id = 1")

        def begin() -> None:
            work.extend(Background(write) for _ in range(sessions))
            query = """SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'"""
            until(lambda: stage.shop.execute(query).fetchone() == (sessions,), "all writers wait")

        with holder.transaction():
            holder.execute("UPDATE orders_order SET note = 'held' WHERE id = 1")
            yield begin
    for each in work:
        each.outcome()


def test_a_slot_that_keeps_the_log_holds_the_next_chunk(stage: Any) -> None:
    """On a server of its own: slots and log are the whole server's, and other tests have some of both."""
    with EmbeddedPostgres() as server, psycopg.connect(server.dsn(), autocommit=True) as conn:
        conn.execute("SELECT pg_create_physical_replication_slot('throttled', true)")
        with Copy(WalKept(conn, "monolith", 30_000_000)).running() as copy, psycopg.connect(server.dsn()) as other:
            passed = holds(
                copy,
                lambda: other.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 50000000))"),
                "slot 'throttled' of the monolith keeps",
            )
            assert passed <= CHUNKS_AT_MOST
            other.execute("SELECT pg_drop_replication_slot('throttled')")
            copy.moves_on()


def test_deadlocks_of_the_application_hold_the_next_chunk(stage: Any, source: Any) -> None:
    with Copy(ErrorRate(source, "monolith", deadlocks=0.05, rollbacks=None)).running() as copy:

        def deadlock() -> None:
            with stage.pair.connect("shop") as one, stage.pair.connect("shop") as other:
                one.autocommit = other.autocommit = False
                one.execute("SET deadlock_timeout = '10ms'")
                other.execute("SET deadlock_timeout = '1min'")
                one.execute("UPDATE orders_order SET note = 'x' WHERE id = 1")
                other.execute("UPDATE orders_order SET note = 'x' WHERE id = 2")
                crossing = Background(lambda: other.execute("UPDATE orders_order SET note = 'x' WHERE id = 1"))
                # Each session looks for a deadlock once: the one that is to find it must be the last to wait.
                query = "SELECT cardinality(pg_blocking_pids(%s))"
                until(lambda: stage.shop.execute(query, [other.info.backend_pid]).fetchone() == (1,), "the other waits")
                with pytest.raises(psycopg.errors.DeadlockDetected):
                    one.execute("UPDATE orders_order SET note = 'x' WHERE id = 2")
                one.rollback()
                crossing.outcome()

        deadlock()
        until(copy.stood, "the copy stood")
        assert "deadlocks a second on the monolith (limit 0.05)" in copy.said[-1]
        copy.moves_on()


def test_a_replica_that_hangs_holds_the_next_chunk(tmp_path: Path) -> None:
    """A stopped standby reports no lag at all; its silence is what counts."""
    with EmbeddedPostgres() as server, psycopg.connect(server.dsn(), autocommit=True) as conn:
        receiver = subprocess.Popen(
            [server._bin / "pg_receivewal", "-D", tmp_path, "-d", server.dsn(), "--no-loop", "-s", "1"],
            stderr=subprocess.DEVNULL,
        )
        try:
            probe = ReplicaLag(conn, "monolith", 0.5)
            streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND reply_time IS NOT NULL"
            until(lambda: conn.execute(streaming).fetchone() == (1,), "it streams, and has answered")
            conn.execute("SELECT pg_logical_emit_message(true, 'x', 'x')")
            until(lambda: probe.look() is None, "the replica is up to date")
            receiver.send_signal(19)

            def behind() -> bool:
                # The signal takes effect when it does: what was written before may have been received.
                conn.execute("SELECT pg_logical_emit_message(true, 'x', 'x')")
                return probe.look() is not None

            until(behind, "the replica is seen to hang")
            assert "replica 'pg_receivewal' of the monolith is" in str(probe.look())
        finally:
            receiver.kill()
            receiver.wait()


def test_a_replica_that_has_never_answered_holds_the_next_chunk() -> None:
    """It hung between its connection and its first report: there is no position to be behind of."""
    with EmbeddedPostgres() as server, psycopg.connect(server.dsn(), autocommit=True) as conn:
        probe = ReplicaLag(conn, "monolith", 0.5)
        assert probe.look() is None
        silent = psycopg.pq.PGconn.connect(f"{server.dsn()} replication=true application_name=silent".encode())
        try:
            silent.exec_(b"START_REPLICATION PHYSICAL 0/1000000")
            until(lambda: probe.look() is not None, "the silent replica is seen")
            assert "replica 'silent' of the monolith is" in str(probe.look())
        finally:
            silent.finish()


def test_outside_the_hours_no_chunk_is_made(stage: Any) -> None:
    clock = [datetime(2026, 1, 1, 21, 59, tzinfo=UTC)]
    schedule = Schedule(Limits(HOURS="22:00-06:00"), now=lambda: clock[0])
    assert schedule.look() == "outside the hours 22:00-06:00 (UTC)"
    clock[0] = datetime(2026, 1, 1, 22, 0, tzinfo=UTC)
    assert schedule.look() is None


@pytest.mark.parametrize(
    ("hours", "zone", "hour", "allowed"),
    [
        ("", "UTC", 12, True),
        ("22:00-06:00", "UTC", 23, True),
        ("22:00-06:00", "UTC", 5, True),
        ("22:00-06:00", "UTC", 6, False),
        ("09:00-10:00, 12:00-13:00", "UTC", 12, True),
        ("09:00-10:00, 12:00-13:00", "UTC", 11, False),
        ("22:00-24:00", "Asia/Tokyo", 13, True),
        ("22:00-24:00", "Asia/Tokyo", 22, False),
    ],
)
def test_hours_may_go_past_midnight_and_follow_their_time_zone(hours: str, zone: str, hour: int, allowed: bool) -> None:
    moment = datetime(2026, 1, 1, hour, 30 if hour != 6 else 0, tzinfo=UTC)
    assert may_run_at(Limits(HOURS=hours, TIME_ZONE=zone), moment) is allowed


def test_every_mistake_of_the_limits_is_named_at_once() -> None:
    mistakes = limit_mistakes({"LAG_SECOND": 1, "WAL_KEPT_BYTES": "5 GB", "HOURS": "22-6", "TIME_ZONE": "Mars/Olympus"})
    assert len(mistakes) == 4
    assert "did you mean 'LAG_SECONDS'?" in mistakes[0]


def test_a_pause_at_another_terminal_holds_the_next_chunk_and_a_resume_lets_it_go_on(stage: Any) -> None:
    with Copy().running() as copy:
        passed = holds(copy, lambda: control.ask(STREAM, Wish.PAUSE, "OPS-7"), "paused by ")
        assert "OPS-7" in copy.said[-1]
        assert passed <= CHUNKS_AT_MOST
        control.ask(STREAM, Wish.RUN, "")
        copy.moves_on()


def test_a_cancellation_ends_the_copy_and_the_next_one_is_not_cancelled(stage: Any) -> None:
    copy = Copy()
    copy.throttle()
    control.ask(STREAM, Wish.CANCEL, "wrong day")
    with pytest.raises(Interrupted, match="wrong day"):
        copy.throttle()
    Copy().throttle()


def test_limits_that_the_operator_cannot_see_are_refused_with_the_grant(stage: Any) -> None:
    with stage.pair.connect("shop", "strangler") as conn, pytest.raises(SettingsError, match="GRANT pg_read_all_stats"):
        make_probes(Limits(ACTIVE_BACKENDS=5), stream=STREAM, source=conn, target=conn, sender=conn, lag_seconds=1.0)


def test_without_limits_only_hours_and_lag_are_asked(stage: Any, source: Any) -> None:
    probes = make_probes(QUIET, stream=STREAM, source=source, target=source, sender=source, lag_seconds=2.0)
    assert [type(probe) for probe in probes] == [Schedule, Lag]
    connections.close_all()
