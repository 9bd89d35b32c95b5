"""The ramp over a real Envoy: promoted by what readers got, taken back by itself, never green without data."""

import http.client
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migration_tools.routing import publishing
from migration_tools.routing.traffic import read_traffic
from migration_tools.state.journal import phase_of
from migration_tools.state.models import JournalEntry
from tests.conftest import ROOT, Pair
from tests.integration.proxy_rig import Upstream, await_until
from tests.integration.test_phases import Road, road
from tests.integration.test_proxy_command import Start, directory, port, side, sides, start
from tests.operators import IMPATIENT

pytestmark = pytest.mark.thorough

__all__ = ["directory", "port", "road", "sides", "start"]

STEPS = "strangle_switch_reads --steps 5,25,100 --min-requests 40 --step-seconds 0.2"


@contextmanager
def readers(port: int) -> Iterator[list[int]]:
    """Customers who read all the time, each with a bucket of their own; yields the statuses they got."""
    stop, statuses, numbers = threading.Event(), [], itertools.count()

    def read() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        while not stop.is_set():
            connection.request("GET", "/api/orders/", headers={"Cookie": f"sx_bucket=user{next(numbers) % 997}"})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def verified(road: Road, start: Start, port: int) -> Road:
    """A context that may switch its reads, with a proxy that answers by its table."""
    start()
    road.walk_to("verify")
    await_until(lambda: side(port) == "old" and publishing.live_proxies(), 30, "the proxy answers")
    return road


@contextmanager
def operator(pair: Pair, name: str, *args: str) -> Iterator["subprocess.Popen[bytes]"]:
    """An operator's command in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", name, "orders", *args],
        cwd=ROOT,
        env={**pair.environment(operator=True), **IMPATIENT},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def share() -> float:
    return publishing.current().contexts["orders"].reads_percent


def steps_of_journal() -> list[tuple[str, float]]:
    rows = JournalEntry.objects.filter(context="orders", move="ramp").order_by("id")
    return [(row.step, row.evidence["percent"]) for row in rows]


def test_a_healthy_service_is_promoted_step_by_step(verified: Road, port: int) -> None:
    with readers(port) as statuses:
        done = verified.run(*STEPS.split())
    assert [step["verdict"] for step in done["evidence"]["steps"]] == ["green"] * 3
    assert (done["evidence"]["percent"], share(), phase_of("orders")) == (100, 100, "switch_reads")
    assert steps_of_journal() == [(step, percent) for percent in (5, 25, 100) for step in ("share", "judged")]
    assert set(statuses) == {200}
    counted = read_traffic("orders")
    await_until(lambda: sum(c.requests for c in read_traffic("orders").values()) >= len(statuses), 10)
    assert counted["new"].errors == 0


def test_a_service_with_errors_is_taken_back_by_itself(
    verified: Road, port: int, sides: tuple[Upstream, Upstream]
) -> None:
    sides[1].broken.set()
    with readers(port) as statuses:
        error = verified.refused(*STEPS.split())
        await_until(lambda: side(port) == "old", what="everybody reads from the monolith again")
    assert error.returncode == 7
    assert "errors in" in str(error)
    assert "run the same command again" in str(error)
    assert (share(), phase_of("orders")) == (0, "switch_reads")
    assert steps_of_journal()[-1] == ("rolled_back", 5)
    assert 3 <= statuses.count(500) < len(statuses) / 5
    sides[1].broken.clear()
    with readers(port):
        assert verified.run(*STEPS.split())["evidence"]["percent"] == 100


def test_a_slow_service_is_taken_back_by_itself(verified: Road, port: int, sides: tuple[Upstream, Upstream]) -> None:
    sides[1].seconds = 0.12
    with readers(port):
        error = verified.refused(*STEPS.split())
    assert error.returncode == 7
    assert "95 % of the new side's answers take up to" in str(error)
    assert share() == 0


@pytest.mark.parametrize(("choice", "code", "left"), [("rollback", 7, 0), ("pause", 6, 5)])
def test_no_data_is_never_green(verified: Road, choice: str, code: int, left: float) -> None:
    command = f"strangle_switch_reads --steps 5,100 --no-data-seconds 0.3 --on-no-data {choice}".split()
    if choice == "rollback":
        assert verified.refused(*command).returncode == code
    else:
        with operator(verified.pair, *command) as waiting:
            await_until(lambda: ("paused", 5) in steps_of_journal(), 60, "the ramp says that it waits")
            waiting.terminate()
            assert waiting.wait(30) == code
    assert share() == left
    assert ("judged", 100) not in steps_of_journal()


def test_a_ramp_without_a_live_proxy_changes_nothing(road: Road) -> None:
    road.walk_to("verify")
    error = road.refused(*STEPS.split())
    assert "start strangle_proxy run" in str(error)
    assert share() == 0


def test_a_dry_run_tells_the_steps(verified: Road, directory: Path) -> None:
    told = verified.run(*STEPS.split(), "--dry-run")
    assert "Go through 5, 25, 100 %" in told["plan"][-1]
    assert share() == 0
