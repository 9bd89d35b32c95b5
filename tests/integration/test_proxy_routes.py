"""What a client sees through a real Envoy: shares, holds, pins, spellings and hygiene."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from migration_tools.routing.table import (
    RoutingTable,
    ensure_context,
    released,
    side_for,
    with_context,
    with_reads,
    with_writes,
)
from tests.integration.proxy_rig import Rig, await_until, rig

FRESH = ensure_context(RoutingTable(), "orders", ["/api/orders/"], "orders")


@pytest.fixture(scope="module")
def shared() -> Iterator[Rig]:
    with rig() as made:
        yield made


@pytest.fixture
def proxy(shared: Rig) -> Rig:
    shared.old.fenced.clear()
    shared.new.fenced.clear()
    shared.publish(lambda _: FRESH)
    return shared


def test_a_growing_share_moves_users_only_forwards_and_python_agrees_with_envoy(proxy: Rig) -> None:
    keys = [f"visitor-{number}" for number in range(150)]
    on_new: set[str] = set()
    for percent in (0, 1, 25, 50, 100):
        proxy.publish(lambda table, percent=percent: with_reads(table, "orders", percent))
        with ThreadPoolExecutor(4) as pool:
            sides = dict(zip(keys, pool.map(proxy.side_of, keys), strict=True))
        assert sides == {key: side_for(proxy.table, key, "orders") for key in keys}
        now_on_new = {key for key, side in sides.items() if side == "new"}
        assert on_new <= now_on_new, "somebody fell back to the old side while the share grew"
        assert abs(len(now_on_new) / len(keys) * 100 - percent) < 12
        on_new = now_on_new
    assert len(on_new) == len(keys)


def test_a_first_visit_gets_the_cookie_that_keeps_its_side(proxy: Rig) -> None:
    proxy.publish(lambda table: with_reads(table, "orders", 50))
    sides = set()
    for _ in range(40):
        first = proxy.ask("GET", "/api/orders/")
        key = first.cookies()["sx_bucket"]
        assert first.side == side_for(proxy.table, key, "orders") == proxy.side_of(key)
        sides.add(first.side)
    assert sides == {"old", "new"}


def test_held_writes_wait_and_reach_the_new_side_whole(proxy: Rig) -> None:
    bodies = [os.urandom(2_000 + number) for number in range(24)] + [os.urandom(5_000_000)]
    proxy.publish(lambda table: with_writes(table, "orders", "hold", now="1"))
    applied_before = len(proxy.new.writes)
    with ThreadPoolExecutor(len(bodies)) as pool:
        futures = [pool.submit(proxy.ask, "POST", "/api/orders/", body=body) for body in bodies]
        await_until(lambda: proxy.agent.parking.parked == len(bodies), what="all wait at the agent")
        assert not any(future.done() for future in futures)
        proxy.publish(lambda table: with_writes(table, "orders", "new"))
        answers = [future.result() for future in futures]
    assert {(answer.status, answer.side) for answer in answers} == {(200, "new")}
    expected = [hashlib.sha256(body).hexdigest() for body in bodies]
    assert [answer.document["sha256"] for answer in answers] == expected
    assert sorted(proxy.new.writes[applied_before:]) == sorted(expected), "lost or applied twice"


def test_a_released_hold_goes_on_to_the_side_before_it(proxy: Rig) -> None:
    proxy.publish(lambda table: with_writes(table, "orders", "hold", now="2"))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(proxy.ask, "POST", "/api/orders/", body=b"kept")
        proxy.publish(lambda table: released(table, "orders"))
        assert future.result().side == "old"


def test_a_write_that_met_the_fence_is_tried_again_until_the_new_side_has_it(proxy: Rig) -> None:
    """The databases decide: here the old side already refuses while the proxy still points at it."""
    proxy.old.fenced.set()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(proxy.ask, "POST", "/api/orders/", body=b"x%d" % n) for n in range(8)]
        proxy.publish(lambda table: with_writes(table, "orders", "new"))
        answers = [future.result() for future in futures]
    assert {(answer.status, answer.side) for answer in answers} == {(200, "new")}
    assert not any("x-strangler-fenced" in dict(answer.headers) for answer in answers)


def test_the_marker_never_reaches_a_client(proxy: Rig) -> None:
    proxy.old.fenced.set()
    impatient = replace(FRESH.contexts["orders"], write_timeout_seconds=0.4, hold_deadline_seconds=0.3)
    proxy.publish(lambda table: with_context(table, "orders", impatient))
    elsewhere, timed_out = proxy.ask("POST", "/elsewhere"), proxy.ask("POST", "/api/orders/")
    assert (elsewhere.status, timed_out.status) == (503, 504)
    for answer in (elsewhere, timed_out):
        assert not any(key.startswith("x-strangler") for key, _ in answer.headers)


@pytest.mark.parametrize(
    ("path", "side"),
    [
        ("/api/orders", "new"),
        ("/api/orders/7/?page=2", "new"),
        ("//api/orders/", "new"),
        ("/%61pi/orders/", "new"),
        ("/./api/orders/", "new"),
        ("/x/../api/orders/", "new"),
        ("/api//orders/7/", "new"),
        ("/api/orders/../products/", "old"),
        ("/api/ordersX", "old"),
        ("/api/", "old"),
        ("/", "old"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_spelling_of_a_path_goes_to_the_right_side(proxy: Rig, method: str, path: str, side: str) -> None:
    proxy.publish(lambda table: with_writes(with_reads(table, "orders", 100), "orders", "new"))
    assert proxy.ask(method, path).side == side


def test_an_escaped_slash_is_redirected_to_its_plain_spelling(proxy: Rig) -> None:
    answer = proxy.ask("GET", "/api%2Forders/")
    assert (answer.status, dict(answer.headers)["location"]) == (307, "/api/orders/")


def test_headers_by_which_a_client_could_pose_as_somebody_are_stripped(proxy: Rig) -> None:
    spoofed = {
        "X-Strangler-Shadow": "1",
        "x-strangler-anything": "1",
        "X-Sx-Force": "new",
        "X-Envoy-Retry-On": "5xx",
        "Forwarded": "for=1.2.3.4",
        "Proxy": "evil",
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "1",
        "X-Request-Id": "chosen; Domain=evil.example",
    }
    seen = proxy.ask("GET", "/api/orders/", spoofed).document["headers"]
    assert not [name for name in seen if name.startswith(("x-strangler", "x-sx", "x-envoy-retry"))]
    assert not {"forwarded", "proxy", "x-forwarded-port"} & seen.keys()
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-host"] == seen["host"] == str(proxy.options.listen)
    assert seen["x-forwarded-proto"] == "http"
    assert "evil" not in seen["x-request-id"]


def test_a_header_with_an_underscore_is_refused(proxy: Rig) -> None:
    assert proxy.ask("GET", "/", {"X_User": "1"}).status == 400


def test_headers_that_are_too_large_are_refused(proxy: Rig) -> None:
    assert proxy.ask("GET", "/", {"X-Long": "x" * 40_000}).status == 431


def test_a_reader_who_just_wrote_reads_from_the_owner(proxy: Rig) -> None:
    proxy.publish(lambda table: with_reads(table, "orders", 100))
    written = proxy.ask("POST", "/api/orders/", body=b"mine")
    assert written.side == "old"
    assert written.cookies() == {"sx_pin_orders": "1"}
    pinned = proxy.ask("GET", "/api/orders/", {"Cookie": "a=b; sx_pin_orders=1; c=d"})
    others = proxy.ask("GET", "/api/orders/", {"Cookie": "a=b; xsx_pin_orders=1"})
    assert (pinned.side, others.side) == ("old", "new")


def test_the_force_header_counts_only_where_it_is_allowed(proxy: Rig) -> None:
    force = {"X-Strangler-Force": "new"}
    assert proxy.ask("GET", "/api/orders/", force).side == "old"
    with rig(allow_force_header=True) as tester:
        forced = tester.ask("GET", "/api/orders/", force)
        assert forced.side == "new"
        assert not [name for name in forced.document["headers"] if name.startswith(("x-strangler", "x-sx"))]
        assert tester.ask("POST", "/api/orders/", force).side == "old", "writes belong to the owner"


def test_no_request_fails_while_everything_changes(proxy: Rig) -> None:
    failures: list[int] = []
    finished = threading.Event()

    def shop(method: str) -> None:
        while not finished.is_set():
            status = proxy.ask(method, "/api/orders/").status
            if status != 200:
                failures.append(status)

    threads = [threading.Thread(target=shop, args=(method,)) for method in ("GET", "POST", "GET")]
    for thread in threads:
        thread.start()
    started = time.monotonic()
    while time.monotonic() - started < 3:
        proxy.publish(lambda table: with_reads(table, "orders", 50))
        proxy.publish(lambda table: with_writes(table, "orders", "hold", now=str(table.version)))
        proxy.publish(lambda table: with_writes(table, "orders", "new"))
        proxy.publish(lambda table: ensure_context(table, "payments", ["/api/payments/"], "orders"))
        proxy.publish(lambda _: RoutingTable())
        proxy.publish(lambda _: FRESH)
    finished.set()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.thorough
def test_a_body_above_the_configured_size_is_refused_in_a_hold_and_is_on_no_side(proxy: Rig) -> None:
    small = replace(proxy.table.contexts["orders"], buffer_bytes=200_000)
    proxy.publish(lambda table: with_context(table, "orders", small))
    before = [len(side.writes) for side in (proxy.old, proxy.new)]
    proxy.publish(lambda table: with_writes(table, "orders", "hold", now="1"))
    answer = proxy.ask("POST", "/api/orders/", body=os.urandom(400_000))
    # The fence's answer, or Envoy's own when the body is too large before that has come.
    assert answer.status in (503, 507)
    assert not answer.header("x-strangler-fenced")
    proxy.publish(lambda table: with_writes(table, "orders", "new"))
    assert [len(side.writes) for side in (proxy.old, proxy.new)] == before
    assert proxy.ask("POST", "/api/orders/", body=os.urandom(400_000)).side == "new", "only a hold has to keep it"
