"""In processes of their own: Envoy mirrors, the comparator stores, the ramp is judged by differences."""

import http.client
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from migration_tools.phases.gates import not_shadowed
from migration_tools.phases.surroundings import surroundings
from migration_tools.playbook.registry import get
from migration_tools.routing import publishing
from migration_tools.routing.shadow.models import ShadowRoute
from migration_tools.routing.shadows import read_compared
from migration_tools.state.models import JournalEntry
from tests.conftest import ROOT, Pair
from tests.integration.proxy_rig import await_until, free_port
from tests.integration.shadow_rig import Side
from tests.integration.test_phases import Road, road

pytestmark = pytest.mark.thorough

__all__ = ["road"]

STEPS = "strangle_switch_reads --steps 25,100 --min-requests 40 --step-seconds 0.5 --gate errors,diff"


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    old, new = Side(), Side()
    yield old, new
    old.close()
    new.close()


@pytest.fixture
def port(pair: Pair, sides: tuple[Side, Side], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Envoy with its agent, and a comparator; where clients connect."""
    listen, comparator = free_port(), free_port()
    env = pair.environment() | {
        "MONOLITH_ADDRESS": str(sides[0].address),
        "ORDERS_ADDRESS": str(sides[1].address),
        "STRANGLE_SHADOW_ADDRESS": f"127.0.0.1:{comparator}",
    }
    directory: Path = tmp_path_factory.mktemp("p")
    commands = (
        ("strangle_proxy", "run", "--listen", f"127.0.0.1:{listen}", "--directory", str(directory)),
        ("strangle_shadow", "run"),
    )
    started = [subprocess.Popen([sys.executable, "manage.py", *args], cwd=ROOT, env=env) for args in commands]
    yield listen
    for process in started:
        process.terminate()
    assert [process.wait(20) for process in started] == [0, 0]


@contextmanager
def readers(port: int) -> Iterator[list[int]]:
    stop, statuses, numbers = threading.Event(), [], itertools.count()

    def read() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while not stop.is_set():
            connection.request("GET", "/api/orders/", headers={"Cookie": f"sx_bucket=user{next(numbers) % 997}"})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            stop.wait(0.01)
        connection.close()

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_service_that_answers_otherwise_is_taken_back_mended_and_promoted(
    road: Road, port: int, sides: tuple[Side, Side]
) -> None:
    road.walk_to("verify")
    await_until(publishing.live_proxies, 60, "the proxy reports")
    call_command("strangle_route", "set", "orders", "shadow=30%", "--timeout-seconds", "30")
    sides[1].say = lambda asked: {"total": 10}
    with readers(port) as statuses:
        await_until(lambda: read_compared("orders").different >= 3, 60, "differences before anybody reads there")
        error = road.refused(*STEPS.split())
    assert error.returncode == 7
    assert "shadow reads were answered differently" in str(error)
    assert publishing.current().contexts["orders"].reads_percent == 0
    with pytest.raises(SystemExit) as leaving:
        call_command("strangle_shadow", "report", "orders")
    assert leaving.value.code == 3

    sides[1].say = lambda asked: {"total": "10.00"}
    call_command("strangle_shadow", "propose", "orders")
    with readers(port) as later:
        done = road.run(*STEPS.split())
    assert [step["verdict"] for step in done["evidence"]["steps"]] == ["green", "green"]
    assert {*statuses, *later} == {200}
    assert JournalEntry.objects.filter(move="ramp", step="rolled_back").count() == 1
    assert ShadowRoute.objects.get().pattern == "/api/orders/"


def test_a_decommission_asks_for_an_end_of_shadow_reads(road: Road) -> None:
    road.walk_to("verify")
    with surroundings(get("orders"), purpose="test", stop=threading.Event(), options={}) as env:
        assert not_shadowed(env) == []
        call_command("strangle_route", "set", "orders", "shadow=1%", "--no-wait")
        assert "strangle_route set orders shadow=0%" in not_shadowed(env)[0]
    with pytest.raises(CommandError, match="not an assignment"):
        call_command("strangle_route", "set", "orders", "shadow=101%")
