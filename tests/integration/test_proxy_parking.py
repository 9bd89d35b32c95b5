"""Held writes wait at the agent and are called when the hold is over; without it they try again by themselves."""

import contextlib
import http.client
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from migration_tools.routing import publishing
from migration_tools.routing.table import ensure_context, with_writes
from proxy.admin import Admin, UnixConnection
from proxy.parking import CALLED_AT_ONCE, Parking
from tests.integration.proxy_rig import Rig, Upstream, await_until, rig
from tests.integration.test_proxy_command import Start, directory, port, sides, start

__all__ = ["directory", "port", "sides", "start"]

CONTEXT = "x-context"


@pytest.fixture(scope="module")
def proxy() -> Iterator[Rig]:
    with rig() as made:
        yield made


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits does so until it is called, however long the machine takes to call it."""
    monkeypatch.setattr("proxy.parking.PARK_SECONDS", 60.0)


class Recorded(Parking):
    """Notes, in its own thread, in which order those that wait are called; numbers are of arrival, from 1."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, [CONTEXT])
        self.came, self.called = 0, list[int]()

    async def _wait(self, context: str) -> None:
        self.came += 1
        number = self.came
        await super()._wait(context)
        self.called.append(number)


@pytest.fixture
def parking(directory: Path, patient: None) -> Iterator[Recorded]:
    made = Recorded(directory / "park.sock")
    with made.open():
        yield made


def ask(parking: Parking, context: str, times: int = 1) -> list[int]:
    """Checks as Envoy sends them: headers only, over one connection to the socket."""
    with contextlib.closing(UnixConnection(parking.path)) as connection:
        found = []
        for _ in range(times):
            connection.request("POST", "/api/orders/", headers={CONTEXT: context, "content-length": "0"})
            answer = connection.getresponse()
            answer.read()
            found.append(answer.status)
        return found


def test_only_those_of_a_held_context_wait_and_only_until_it_is_over(parking: Parking) -> None:
    parking.hold(["orders", "stock"])
    assert ask(parking, "billing") == [200]
    with ThreadPoolExecutor(2) as pool:
        orders, stock = (pool.submit(ask, parking, name) for name in ("orders", "stock"))
        await_until(lambda: parking.parked == 2)
        parking.keep_only(["stock"])
        assert orders.result(30) == [200]
        assert not stock.done()
        assert ask(parking, "orders") == [200], "who comes late is not parked"
        parking.keep_only([])
        assert stock.result(30) == [200]
    assert parking.parked == 0


def test_the_oldest_is_called_first(parking: Recorded) -> None:
    parking.hold(["orders"])
    customers = CALLED_AT_ONCE * 3
    with ThreadPoolExecutor(customers) as pool:
        asking = [pool.submit(ask, parking, "orders") for _ in range(customers)]
        await_until(lambda: parking.parked == customers)
        parking.keep_only([])
        assert [each.result(30) for each in asking] == [[200]] * customers
    assert parking.called == list(range(1, customers + 1))


def test_one_connection_asks_again_and_again(parking: Parking) -> None:
    assert ask(parking, "nobody's", times=3) == [200] * 3


def test_nobody_waits_longer_than_its_time_whatever_the_agent_does(
    parking: Parking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.parking.PARK_SECONDS", 0.2)
    parking.hold(["orders"])
    assert ask(parking, "orders") == [200]


def test_more_than_it_has_room_for_are_told_to_try_again(parking: Parking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "_room", 1)
    parking.hold(["orders"])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, parking, "orders")
        await_until(lambda: parking.parked == 1)
        assert ask(parking, "orders") == [200]
        parking.keep_only([])
        assert waiting.result(30) == [200]


def test_without_a_socket_nobody_waits_and_nothing_hangs(tmp_path: Path) -> None:
    parking = Parking(tmp_path / "not there" / "park.sock", [CONTEXT])
    with parking.open():
        parking.hold(["orders"])
        parking.keep_only([])
    assert parking.parked == 0


@pytest.mark.usefixtures("patient")
def test_a_held_write_is_tried_once_and_again_when_it_is_called(proxy: Rig) -> None:
    """A fence that is asked ten times a second by each of hundreds of writes costs more than a core."""
    proxy.publish(lambda table: with_writes(table, "orders", "hold", now="1"))
    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(proxy.ask, "POST", "/api/orders/", body=b"%d" % number) for number in range(20)]
        await_until(lambda: proxy.agent.parking.parked == len(futures))
        proxy.publish(lambda table: with_writes(table, "orders", "new"))
        assert {future.result().side for future in futures} == {"new"}
    tried = proxy.agent.envoy.admin.stats("^http.fence.downstream_rq_completed$")
    assert tried["http.fence.downstream_rq_completed"] == len(futures)
    proxy.publish(lambda table: with_writes(table, "orders", "old"))


def test_writes_that_wait_when_the_agent_is_killed_arrive_once_after_another_has_released_them(
    start: Start, directory: Path, sides: tuple[Upstream, Upstream], port: int
) -> None:
    publishing.publish(
        lambda table: ensure_context(table, "orders", ["/api/orders/"], "orders"), author="t", reason="t"
    )
    agent: subprocess.Popen[bytes] = start()
    await_until(publishing.live_proxies, 30)
    publishing.wait_applied(publishing.set_writes("orders", "hold").version)
    statuses: list[int] = []

    def write() -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("POST", "/api/orders/", body=b"kept")
            statuses.append(connection.getresponse().status)

    customers = [threading.Thread(target=write) for _ in range(5)]
    for each in customers:
        each.start()
    waiting, admin = "http.fence.downstream_rq_active", Admin(directory / "admin.sock")
    await_until(lambda: admin.stats(f"^{waiting}$").get(waiting) == len(customers))
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    assert statuses == []
    start()
    publishing.set_writes("orders", "new")
    for each in customers:
        each.join(30)
    assert statuses == [200] * len(customers)
    assert [len(side.writes) for side in sides] == [0, len(customers)]
