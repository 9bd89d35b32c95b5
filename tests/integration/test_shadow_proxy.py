"""Mirrored reads through a real Envoy: which, how many, and that nobody waits for a comparator in any state."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from migration_tools.routing.table import RoutingTable, ensure_context, with_reads, with_shadow
from proxy.options import Address
from tests.integration.proxy_rig import Rig, await_until, free_port, rig
from tests.integration.shadow_rig import Side

pytestmark = pytest.mark.thorough

FRESH = ensure_context(RoutingTable(), "orders", ["/api/orders/"], "orders")


@pytest.fixture(scope="module")
def mirrored() -> Iterator[tuple[Rig, Side]]:
    """Envoy with a comparator that only remembers."""
    comparator = Side()
    with rig(shadow=comparator.address, allow_force_header=True) as made:
        yield made, comparator
    comparator.close()


@pytest.fixture
def proxy(mirrored: tuple[Rig, Side]) -> Rig:
    made, comparator = mirrored
    made.publish(lambda _: FRESH)
    comparator.asked.clear()
    return made


@pytest.fixture
def comparator(mirrored: tuple[Rig, Side]) -> Side:
    return mirrored[1]


def shadow(percent: float) -> Any:
    return lambda table: with_shadow(table, "orders", percent)


def paths(comparator: Side) -> list[str]:
    return [asked[":path"] for asked in comparator.asked]


def test_reads_are_mirrored_as_they_are_and_writes_are_not(proxy: Rig, comparator: Side) -> None:
    proxy.publish(shadow(100))
    answer = proxy.ask("GET", "/api/orders/1/?a=b", {"Cookie": "sessionid=x; sx_bucket=u", "Host": "shop.test"})
    assert answer.status == 200
    proxy.ask("POST", "/api/orders/", body=b"x")
    proxy.ask("DELETE", "/api/orders/")
    proxy.ask("GET", "/elsewhere/")
    proxy.ask("HEAD", "/api/orders/last/")
    await_until(lambda: len(comparator.asked) == 2, 5, "both reads arrived")
    first, last = comparator.asked
    assert (first[":path"], last[":path"], last[":method"]) == ("/api/orders/1/?a=b", "/api/orders/last/", "HEAD")
    assert first["x-strangler-shadow"] == "1"
    assert first["host"] == "shop.test"
    assert "sessionid=x" in first["cookie"]
    assert "x-strangler-shadow" not in answer.document["headers"]


def test_a_client_cannot_pose_as_a_shadow(proxy: Rig) -> None:
    for name in ("x-strangler-shadow", "X-Strangler-Shadow"):
        answer = proxy.ask("GET", "/api/orders/", {name: "1"})
        assert "x-strangler-shadow" not in answer.document["headers"]


def test_forced_and_pinned_reads_are_not_mirrored(proxy: Rig, comparator: Side) -> None:
    proxy.publish(shadow(100))
    proxy.ask("GET", "/api/orders/forced", {"x-strangler-force": "new"})
    proxy.ask("GET", "/api/orders/pinned", {"Cookie": "sx_pin_orders=1"})
    proxy.ask("GET", "/api/orders/plain")
    await_until(lambda: comparator.asked, 5)
    assert paths(comparator) == ["/api/orders/plain"]


@pytest.mark.parametrize("share", [0, 50, 100])
def test_a_sample_is_a_sample_whoever_answers(proxy: Rig, comparator: Side, share: float) -> None:
    proxy.publish(lambda table: with_reads(table, "orders", share))
    proxy.publish(shadow(20))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: proxy.ask("GET", f"/api/orders/{n}").status, range(400)))
    assert set(answers) == {200}
    await_until(lambda: len(comparator.asked) > 40, 5)
    assert 45 <= len(comparator.asked) <= 120
    proxy.publish(shadow(0))
    before = len(comparator.asked)
    for number in range(50):
        proxy.ask("GET", f"/api/orders/{number}")
    assert len(comparator.asked) == before


def test_a_proxy_that_knows_no_comparator_refuses_a_shadowed_table() -> None:
    with rig() as made:
        version = made.offer(shadow(5))
        await_until(lambda: made.agent.state.rejected_version == version, 5)
        assert "PROXY']['SHADOW']" in made.agent.state.rejected_reason
        assert made.ask("GET", "/api/orders/").status == 200


@contextmanager
def dead() -> Iterator[int]:
    yield free_port()


@contextmanager
def hung() -> Iterator[int]:
    """Takes connections and says nothing; after a while it does not even take them."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        yield listener.getsockname()[1]


@contextmanager
def slow() -> Iterator[int]:
    """Answers each read after a second."""
    side = Side()

    def late(asked: int) -> str:
        threading.Event().wait(1.0)
        return ""

    side.say = late
    yield side.address.port
    side.close()


@contextmanager
def resetting() -> Iterator[int]:
    """Closes every connection in its face."""
    stop = threading.Event()

    def slam(listener: socket.socket) -> None:
        while not stop.is_set():
            try:
                listener.accept()[0].close()
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=slam, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        stop.set()


@pytest.mark.parametrize("comparator", [dead, hung, slow, resetting], ids=lambda made: made.__name__)
def test_no_reader_notices_a_comparator_that_is(comparator: Any) -> None:
    with comparator() as port, rig(shadow=Address(host="127.0.0.1", port=port)) as made:
        quiet = times(made, 300)
        made.publish(lambda table: with_reads(with_shadow(table, "orders", 100), "orders", 50))
        shadowed = times(made, 300)
    assert {status for status, _ in (*quiet, *shadowed)} == {200}
    assert median(shadowed) < 5 * median(quiet) + 0.02
    assert max(seconds for _, seconds in shadowed) < 1.0


def times(made: Rig, count: int) -> list[tuple[int, float]]:
    """Statuses and times of reads by four clients on connections of their own."""

    def client(number: int) -> list[tuple[int, float]]:
        listen = made.options.listen
        connection = http.client.HTTPConnection(listen.host, listen.port, timeout=10)
        found = []
        for turn in range(count // 4):
            began = time.perf_counter()
            connection.request("GET", "/api/orders/", headers={"Cookie": f"sx_bucket=u{number}-{turn}"})
            answer = connection.getresponse()
            answer.read()
            found.append((answer.status, time.perf_counter() - began))
        connection.close()
        return found

    with ThreadPoolExecutor(4) as pool:
        return [each for found in pool.map(client, range(4)) for each in found]


def median(found: list[tuple[int, float]]) -> float:
    return sorted(seconds for _, seconds in found)[len(found) // 2]
