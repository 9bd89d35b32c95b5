"""Relay and consumer as real processes, killed with SIGKILL at their named points, started again, compared exactly."""

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from migration_tools.testing.postgres import free_port
from tests.conftest import ROOT, SERVICE_SETTINGS, Pair
from tests.stage import Stage, write_at_random

SIGKILLED = -9
SECONDS = 30.0


@contextmanager
def process(pair: Pair, *args: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run manage.py beside the test; stopped at the end of the block."""
    child = subprocess.Popen(
        [sys.executable, "manage.py", *args], cwd=ROOT, env={**pair.environment(), **env},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.terminate()
        child.wait(20)


@contextmanager
def feed_of_the_monolith(pair: Pair, **env: str) -> Iterator[str]:
    """The monolith's web server, for its feed; yields its address."""
    address = f"127.0.0.1:{free_port()}"
    with process(pair, "runserver", "--noreload", address, **env):
        await_that(lambda: answers(f"http://{address}/livez"), "the monolith answers")
        yield address


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def await_that(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.02)


@contextmanager
def writers(pair: Pair) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=write_at_random, args=(pair, seed, stop)) for seed in (21, 22)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("projector.done@3", marks=pytest.mark.thorough),
        pytest.param("tick.before_row@3", marks=pytest.mark.thorough),
        "tick.before_commit@3",
    ],
)
def test_a_relay_killed_at_a_point_numbers_every_write_once(stage: Stage, point: str) -> None:
    stage.backfill()
    name, _, passage = point.partition("@")
    with writers(stage.pair):
        with process(stage.pair, "strangle_relay", "orders", STRANGLE_POINTS=f"{name}=kill@{passage}") as first:
            assert first.wait(SECONDS) == SIGKILLED
        with process(stage.pair, "strangle_relay", "orders"):
            before = stage.shop.execute("SELECT count(*) FROM strangle_tick").fetchone()[0]
            await_that(
                lambda: stage.shop.execute("SELECT count(*) FROM strangle_tick").fetchone()[0] > before + 3,
                "the second relay goes on",
            )
    stage.settle()
    assert stage.differences() == []
    gaps = stage.shop.execute("SELECT count(*), max(position) FROM strangle_stream WHERE stream = 'orders'").fetchone()
    assert gaps[0] == gaps[1], "positions are dense"


def purchase(stage: Stage, number: int) -> None:
    """An order and its event in one transaction, as the monolith's purchase does."""
    with stage.shop.transaction():
        public_id = uuid.UUID(int=number)
        stage.shop.execute(
            """INSERT INTO orders_order (public_id, user_id, status, total, currency, client_reference,
                   shipping_address, placed_at, updated_at)
               VALUES (%s, 1, 'placed', 1, 'EUR', 'chaos', '{}', now(), now())""",
            [public_id],
        )
        payload = {"order_id": number, "public_id": str(public_id), "user_id": 1, "lines": []}
        stage.shop.execute(
            """INSERT INTO strangle_outbox (stream, kind, event_id, event_type, event_version, aggregate_type,
                   aggregate_id, payload, correlation_id, metadata)
               VALUES ('orders', 'e', gen_random_uuid(), 'order.placed', 1, 'order', %s, %s, 'c', '{}')""",
            [str(public_id), json.dumps(payload)],
        )


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("sync.rows_upserted@2", marks=pytest.mark.thorough),
        pytest.param("inbox.rows_applied@2", marks=pytest.mark.thorough),
        pytest.param("inbox.before_commit@2", marks=pytest.mark.thorough),
        pytest.param("inbox.after_commit@2", marks=pytest.mark.thorough),
    ],
)
def test_a_consumer_killed_at_a_point_has_each_effect_once(stage: Stage, point: str) -> None:
    stage.backfill()
    name, _, passage = point.partition("@")
    counted = "SELECT COALESCE(sum(placed), 0) FROM sales_dailycount"
    consume: tuple[str, ...] = ("strangle_consume", "orders", "--settings", SERVICE_SETTINGS)
    with (
        feed_of_the_monolith(stage.pair) as monolith,
        process(stage.pair, "strangle_relay", "orders"),
    ):
        env: dict[str, Any] = {"MONOLITH_ADDRESS": monolith}
        made = 0
        with process(stage.pair, *consume, STRANGLE_POINTS=f"{name}=kill@{passage}", **env) as first:
            deadline = time.monotonic() + SECONDS
            while first.poll() is None:
                assert time.monotonic() < deadline, "the consumer never came to the point"
                made += 1
                purchase(stage, made)
            assert first.returncode == SIGKILLED
        for _ in range(20):
            made += 1
            purchase(stage, made)
        with process(stage.pair, *consume, **env):
            await_that(lambda: stage.orders.execute(counted).fetchone()[0] >= made, "every event is handled")
    assert stage.orders.execute(counted).fetchone()[0] == made
    stage.settle()
    assert stage.differences() == []
