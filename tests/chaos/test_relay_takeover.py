"""A standby relay leads within two seconds of the leader's end, however it ended, and numbers every write once."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from migration_tools.kernel.locks import LockClass, lock_keys
from migration_tools.stores.postgres import advisory, connect
from tests.chaos.test_killed_processes import await_that, process
from tests.chaos.wire import Wire
from tests.races.scene import NEW_EVENT
from tests.stage import STREAM, Stage

pytestmark = pytest.mark.thorough

TAKEOVER_SECONDS = 2.0


def leader(stage: Stage) -> int | None:
    """The server process of the session that leads; None when nobody does."""
    first, second = lock_keys(LockClass.RELAY, STREAM)
    row = stage.shop.execute(
        """SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid::bigint = %s
             AND objid::bigint = %s AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
        [first, second & 0xFFFF_FFFF],
    ).fetchone()
    return int(row[0]) if row else None


@contextmanager
def leader_and_standby(stage: Stage, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Two relay processes, the first of which leads; yields it with its session's process id."""
    with ExitStack() as stack:
        first = stack.enter_context(process(stage.pair, "strangle_relay", STREAM, **env))
        stack.callback(first.send_signal, signal.SIGCONT)
        await_that(lambda: leader(stage) is not None, "the first relay leads")
        session = leader(stage)
        assert session is not None
        stack.enter_context(process(stage.pair, "strangle_relay", STREAM))
        waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strangle:relay orders'"
        await_that(lambda: _one(stage, waits) == 2, "the second relay stands by")
        yield first, session


def _one(stage: Stage, query: str) -> int:
    row = stage.shop.execute(query).fetchone()
    return int(row[0]) if row else 0


def seconds_until_another_leads(stage: Stage, former: int) -> float:
    """How long it takes from now on."""
    began = time.monotonic()
    await_that(lambda: leader(stage) not in {None, former}, "another session leads")
    return time.monotonic() - began


def assert_numbered(stage: Stage, events: int) -> None:
    """Every event has one position, positions are dense, keys in order."""
    found = "SELECT count(*) FROM strangle_stream WHERE kind = 'e'"
    await_that(lambda: _one(stage, found) >= events, "everything is numbered")
    rows = stage.shop.execute(
        "SELECT position, kind, aggregate_id FROM strangle_stream WHERE stream = 'orders' ORDER BY position"
    ).fetchall()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert [row[2] for row in rows if row[1] == "e"] == [str(number) for number in range(events)]


def write(stage: Stage, first: int, last: int) -> None:
    for number in range(first, last):
        stage.shop.execute(NEW_EVENT, [str(number)])


def test_a_standby_leads_within_two_seconds_of_kill_9(stage: Stage) -> None:
    with leader_and_standby(stage) as (first, session):
        write(stage, 0, 10)
        os.kill(first.pid, signal.SIGKILL)
        write(stage, 10, 20)
        assert seconds_until_another_leads(stage, session) < TAKEOVER_SECONDS
        assert_numbered(stage, 20)


def test_a_standby_leads_within_two_seconds_of_a_leader_that_hangs_and_wakes_in_vain(stage: Stage) -> None:
    with leader_and_standby(stage) as (first, session):
        write(stage, 0, 10)
        os.kill(first.pid, signal.SIGSTOP)
        write(stage, 10, 20)
        assert seconds_until_another_leads(stage, session) < TAKEOVER_SECONDS
        second = leader(stage)
        os.kill(first.pid, signal.SIGCONT)
        write(stage, 20, 40)
        assert_numbered(stage, 40)
        assert leader(stage) == second, "the one that hung stands by"


def test_a_standby_leads_within_two_seconds_of_a_network_that_swallows_everything(stage: Stage) -> None:
    """As when a host vanishes: nothing closes the connection, and to TCP it looks alive."""
    with (
        Wire(to=stage.pair.cluster.port) as wire,
        leader_and_standby(stage, SHOP_DB_PORT=str(wire.port)) as (_, session),
    ):
        write(stage, 0, 10)
        wire.deafen()
        write(stage, 10, 20)
        assert seconds_until_another_leads(stage, session) < TAKEOVER_SECONDS
        write(stage, 20, 30)
        wire.hear()
        assert_numbered(stage, 30)


def test_without_a_lease_a_leader_that_hangs_keeps_everybody_waiting(stage: Stage) -> None:
    with connect("default", "a naive leader") as naive:
        assert advisory.try_hold(naive, LockClass.RELAY, STREAM)
        with process(stage.pair, "strangle_relay", STREAM):
            waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strangle:relay orders'"
            await_that(lambda: _one(stage, waits) == 1, "the second relay stands by")
            began = time.monotonic()
            await_that(lambda: time.monotonic() - began > TAKEOVER_SECONDS + 0.2, "longer than a takeover takes")
            assert leader(stage) == naive.info.backend_pid


@pytest.mark.parametrize("setting", ["tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"])
def test_the_server_asks_whether_the_peers_of_our_sessions_are_there(stage: Any, setting: str) -> None:
    with connect("default", "anything") as conn:
        row = conn.execute("SELECT current_setting(%s)::int", [setting]).fetchone()
    assert row is not None
    assert 0 < row[0] <= 5
