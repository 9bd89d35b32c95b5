"""A backfill by three workers, killed with SIGKILL between their commits; and Celery's workers, killed in a piece."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from migration_tools.state.journal import phase_of
from migration_tools.testing.brokers import EmbeddedBroker, EmbeddedRabbit, EmbeddedRedis
from tests.conftest import ROOT, Pair
from tests.integration.test_phases import Road, road, writing
from tests.integration.transport_rig import made
from tests.races.scene import Background, until

pytestmark = pytest.mark.thorough

__all__ = ["road"]

SMALL = ("--settings", "tests.small_chunks")
WORKERS = 3


def backfill(pair: Pair, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in a process of its own."""
    return pair.manage("strangle_backfill", "orders", "--format", "json", *SMALL, **env)


def copied(road: Road) -> tuple[int, int]:
    """(orders in the target, orders of which the checkpoint knows)."""
    found = road.stage.orders.execute(
        """SELECT (SELECT count(*) FROM sales_order),
                  COALESCE((SELECT rows FROM strangle_copied_range WHERE projection = 'sales_order'), 0)"""
    ).fetchone()
    assert found is not None
    return found


@pytest.mark.parametrize("point", ["piece.begun@7", "piece.rows_written@7", "piece.committed@7"])
def test_a_kill_among_workers_redoes_at_most_one_piece_a_worker(road: Road, point: str) -> None:
    name, _, passage = point.partition("@")
    road.run("strangle_dual_write")
    done = backfill(road.pair, STRANGLE_POINTS=f"{name}=kill@{passage}")
    assert done.returncode == -9, (done.returncode, done.stdout, done.stderr)
    until(lambda: sessions(road.stage.orders) == 0, "the killed command's sessions have ended")
    here, known = copied(road)
    largest = 40  # rows; pieces are of 4,000 bytes, and a row takes more than 100
    assert 0 < known <= here <= known + WORKERS * largest
    done = backfill(road.pair)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert phase_of("orders") == "backfill"
    assert road.settled() == []


def sessions(conn: psycopg.Connection[Any]) -> int:
    """How many sessions of a backfill there are."""
    found = conn.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'strangle:backfill%'")
    return int((found.fetchone() or (0,))[0])


def test_after_a_kill_the_first_new_row_comes_within_two_seconds_of_the_resume(road: Road) -> None:
    road.run("strangle_dual_write")
    assert backfill(road.pair, STRANGLE_POINTS="piece.committed=kill@7").returncode == -9
    before, _ = copied(road)
    resuming = Background(lambda: backfill(road.pair))
    until(lambda: sessions(road.stage.orders) > 0, "the command has connected", 90)
    began = time.monotonic()
    until(lambda: copied(road)[0] > before, "a new row has come")
    seconds = time.monotonic() - began
    assert resuming.outcome().returncode == 0
    assert seconds < 2.0


def test_pause_and_cancel_at_another_terminal_reach_the_command_and_the_status(road: Road) -> None:
    road.run("strangle_dual_write")
    assert "copies no further chunk" in road.run("strangle_backfill", "--pause", "--reason", "sale")["message"]
    with command(road.pair) as process:
        until(lambda: "sale" in road.run("strangle_status")["evidence"]["backfill"]["holding"], "the copy stands", 90)
        assert copied(road) == (0, 0)
        assert road.run("strangle_backfill", "--cancel", "--reason", "wrong day")["evidence"]["running"]
        _, said = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "throttled: paused by" in said
    assert "wrong day" in said
    with command(road.pair) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "nothing to cancel" in road.run("strangle_backfill", "--cancel")["message"]
    assert road.settled() == []


@contextmanager
def command(pair: Pair, **env: str) -> Iterator["subprocess.Popen[str]"]:
    """A backfill that runs beside the test; killed at the end of the block if it has not ended."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "strangle_backfill", "orders", *SMALL],
        cwd=ROOT,
        env={**pair.environment(operator=True), **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def celery_worker(pair: Pair, env: dict[str, str], **points: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A real worker, one task at a time; its log is for the eye only."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "migration_tools.transfer.celery_app", "worker"),
            # Two workers of one machine must have two names.
            *(
                "-n",
                f"{os.urandom(4).hex()}@%h",
                "-P",
                "solo",
                "-Q",
                "strangle",
                "-l",
                "WARNING",
                "--without-gossip",
                "--without-mingle",
            ),
        ],
        cwd=ROOT,
        env={
            **pair.environment(operator=True),
            **env,
            **points,
            "DJANGO_SETTINGS_MODULE": "tests.small_chunks",
            "PYTHONPATH": str(ROOT),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if os.environ.get("CI") else None,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=[EmbeddedRedis, EmbeddedRabbit], ids=["redis", "rabbitmq"])
def runner(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a backfill by Celery over a real broker."""
    kind: type[EmbeddedBroker] = request.param
    with made(kind) as broker:
        yield {"TEST_BACKFILL_RUNNER": "celery", "TEST_BACKFILL_BROKER_URL": broker.url, "TEST_CHUNK_BYTES": "8000"}


@pytest.mark.parametrize("point", ["piece.rows_written", "lease.done"])
def test_a_celery_worker_killed_in_a_piece_under_writes_is_followed_by_another_and_nothing_is_lost(
    road: Road, runner: dict[str, str], point: str
) -> None:
    """Customers insert, update, re-price and delete orders all the while; rows of the chunk that is lost among them."""
    road.run("strangle_dual_write")
    road.stage.shop.execute("ANALYZE")
    with (
        writing(road.pair),
        celery_worker(road.pair, runner, STRANGLE_POINTS=f"{point}=kill@2") as doomed,
        celery_worker(road.pair, runner),
        command(road.pair, **runner) as process,
    ):
        until(lambda: doomed.poll() is not None or process.poll() is not None, "the worker was killed", seconds=90)
        killed = doomed.poll()
        _, said = process.communicate(timeout=120)
    assert killed == -9, said
    assert process.returncode == 0, said
    assert road.settled() == []
    written = road.stage.shop.execute(
        "SELECT n_tup_ins - 300, n_tup_upd, n_tup_del FROM pg_stat_user_tables WHERE relname = 'orders_order'"
    ).fetchone()
    assert written is not None
    assert min(written) > 0, written


def test_without_a_celery_worker_the_command_copies_alone(road: Road) -> None:
    road.run("strangle_dual_write")
    with EmbeddedRedis() as broker:
        env = {"TEST_BACKFILL_RUNNER": "celery", "TEST_BACKFILL_BROKER_URL": broker.url, "TEST_CHUNK_BYTES": "8000"}
        done = backfill(road.pair, **env)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert road.settled() == []
