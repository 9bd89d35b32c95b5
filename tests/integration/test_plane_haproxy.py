"""The routing table on a real HAProxy: Envoy's buckets, flips that a reload keeps, writes that wait."""

import hashlib
import http.client
import os
import random
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from migration_tools.routing.planes import haproxy
from migration_tools.routing.planes.haproxy_runtime import Runtime
from migration_tools.routing.planes.writing import write_files
from migration_tools.routing.rules import ReadRule
from migration_tools.routing.table import (
    ensure_context,
    parse_document,
    reader_side,
    released,
    side_for,
    with_context,
    with_reads,
    with_rule,
    with_writes,
)
from tests.integration.plane_rig import (
    Plane,
    await_applied,
    binary,
    documents,
    following,
    plane,
    reload_haproxy,
    start_haproxy,
    target_in,
)
from tests.integration.proxy_rig import await_until

pytestmark = pytest.mark.thorough


@pytest.fixture
def made() -> Iterator[Plane]:
    with plane() as found:
        yield found


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=documents())
def test_whatever_the_table_may_hold_haproxy_accepts(document: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory(prefix="sx") as directory:
        write_files(directory, haproxy.render(parse_document(document), target_in(directory)).files)
        command = [binary("haproxy"), "-c", "-f", f"{directory}/{haproxy.CONFIGURATION}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr


def test_a_user_is_on_the_side_that_python_names_and_stays_while_the_share_grows(made: Plane) -> None:
    start_haproxy(made)
    keys = [f"user-{number}" for number in range(150)]
    before: set[str] = set()
    with following(made):
        for percent in (0, 10, 50, 100):
            made.change(lambda table, percent=percent: with_reads(table, "orders", percent))
            await_applied(made)
            sides = {key: made.side_of(key) for key in keys}
            assert sides == {key: side_for(made.table, key, "orders") for key in keys}
            now = {key for key, side in sides.items() if side == "new"}
            assert before <= now
            before = now


def test_a_first_visit_gets_the_cookie_that_names_its_side(made: Plane) -> None:
    made.change(lambda table: with_reads(table, "orders", 50))
    start_haproxy(made)
    seen = set()
    for _ in range(30):
        answer = made.ask(
            "GET", "/api/orders/1", {"x-request-id": "mine", "x-strangler-user": "7", "x-sx-force": "new"}
        )
        key = answer.cookies()["sx_bucket"]
        assert answer.side == side_for(made.table, key, "orders") == made.side_of(key)
        sent = answer.document["headers"]
        assert sent["x-request-id"] == key != "mine"
        assert {"x-strangler-user", "x-sx-force"} & sent.keys() == set()
        seen.add(answer.side)
    assert seen == {"old", "new"}


def test_rules_and_pins_are_obeyed_as_python_says(made: Plane) -> None:
    for rule in (
        ReadRule(side="new", headers={"x-beta": "-i"}, methods=("GET",)),
        ReadRule(side="old", path="/api/orders/$HOME'x"),
        ReadRule(side="new", path="/api/orders/search", cohort="--"),
        ReadRule(side="new", cookies={"a.b-c": "default"}),
    ):
        made.change(lambda table, rule=rule: with_rule(table, "orders", rule))
    made.change(lambda table: with_writes(with_reads(table, "orders", 0), "orders", "new"))
    made.change(lambda table: ensure_context(table, "returns", ["/api/orders/returns"], "orders"))
    start_haproxy(made)
    asked = [
        ("GET", "/api/orders", {}, {}),
        ("GET", "/api/orders/1", {"x-beta": "-i"}, {}),
        ("OPTIONS", "/api/orders/1", {"x-beta": "-i"}, {}),
        ("GET", "/api/orders/1", {"x-beta": "-I"}, {}),
        ("GET", "/api/orders/$HOME'x/1", {"x-beta": "-i"}, {}),
        ("GET", "/api/orders/search/1", {}, {"sx_cohort": "--"}),
        ("GET", "/api/orders/searches", {}, {"sx_cohort": "--"}),
        ("GET", "/api/orders/1", {}, {"a.b-c": "default"}),
        ("GET", "/api/orders/1", {}, {"a.b-c": "Default"}),
        ("GET", "/api/orders/1", {}, {"sx_pin_orders": "1"}),
    ]
    for method, path, headers, cookies in asked:
        sent = {**headers, "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        expected = reader_side(made.table, "orders", method=method, path=path, headers=headers, cookies=cookies)
        answer = made.ask(method, path, sent if cookies else headers)
        assert answer.header("x-side") == expected, (method, path, headers, cookies)
    write = made.ask("POST", "/api/orders/", body=b"x")
    assert (write.side, write.cookies()) == ("new", {"sx_pin_orders": "1"})
    nested = made.ask("POST", "/api/orders/returns/1", body=b"x", headers={"Cookie": "sx_pin_orders=1"})
    assert (nested.side, nested.cookies()) == ("old", {"sx_pin_returns": "1"})
    assert made.ask("POST", "/api/ordersX", body=b"x").cookies() == {}


@pytest.mark.parametrize("path", ["//api/orders/1", "/%61pi/orders/1", "/./api/orders/1", "/x/../api/orders/1"])
def test_other_spellings_of_a_path_do_not_miss_their_route(made: Plane, path: str) -> None:
    made.change(lambda table: with_reads(table, "orders", 100))
    start_haproxy(made)
    answer = made.ask("GET", path)
    assert (answer.side, answer.document["path"]) == ("new", "/api/orders/1")
    assert made.ask("GET", "/api%2Forders/1").status == 400
    assert made.ask("GET", "/api/orders", {"X_User": "1"}).status == 400


def test_flips_under_load_break_no_request_and_outlive_a_reload(made: Plane) -> None:
    start_haproxy(made)
    stop, wrong, count = threading.Event(), [], [0] * 4

    def read(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", made.target.listen.port, timeout=30)
        while not stop.is_set():
            connection.request("GET", "/api/orders/1", headers={"Cookie": f"sx_bucket=user-{number}"})
            response = connection.getresponse()
            response.read()
            count[number] += 1
            if response.status != 200:
                wrong.append(response.status)
        connection.close()

    with following(made), ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, number) for number in range(4)]
        try:
            for number in range(20):
                share = 100 * (number % 2 == 0)
                made.change(lambda table, share=share: with_reads(table, "orders", share))
                await_applied(made)
                assert made.side_of("anybody") == ("new" if share else "old")
        finally:
            stop.set()
        for reader in readers:
            reader.result()
        made.change(lambda table: with_reads(table, "orders", 37.5))
        await_applied(made)
    assert (wrong, min(count) > 0) == ([], True)
    marker = made.marker()
    reload_haproxy(made)
    shares = Runtime(made.target_socket()).read_map(made.target.file(haproxy.READS))
    assert (shares, made.marker()) == ({"orders": str(16_384 * 3 // 8)}, marker)


def test_a_change_of_paths_is_refused_until_haproxy_was_reloaded(made: Plane) -> None:
    start_haproxy(made)
    with following(made):
        first = made.table.version
        made.change(lambda table: ensure_context(table, "orders", ["/api/orders", "/orders"], "orders"))
        await_until(lambda: made.said["rejected_version"] == made.table.version, what="a refusal")
        assert "reload HAProxy" in made.said["rejected_reason"]
        assert made.said["applied_version"] == first
        # Shares and owners of what is known already do not wait for the reload: a kill switch must work at once.
        made.change(lambda table: with_reads(table, "orders", 100))
        await_until(lambda: made.side_of("anybody") == "new")
        reload_haproxy(made)
        await_applied(made)
        assert (made.ask("GET", "/orders/1").side, made.said["rejected_reason"]) == ("new", "")


def test_a_restarted_haproxy_and_a_changed_map_are_brought_back(made: Plane) -> None:
    start_haproxy(made)
    with following(made):
        Runtime(made.target_socket()).set_map(made.target.file(haproxy.WRITES), "orders", "new")
        await_until(lambda: made.ask("POST", "/api/orders/", body=b"x").side == "old", what="the owner again")
        assert made.process is not None
        made.process.terminate()
        made.process.wait(20)
        await_until(lambda: made.said["note"], what="a note that HAProxy is away")
        start_haproxy(made)
        made.change(lambda table: with_reads(table, "orders", 100))
        await_applied(made)
        assert made.said["note"] == ""


def post(made: Plane, size: int) -> tuple[int, str, str]:
    body = os.urandom(size)
    answer = made.ask("POST", "/api/orders/", body=body)
    return answer.status, hashlib.sha256(body).hexdigest(), answer.header("retry-after")


def customers(
    made: Plane, move: Callable[[], None], *, sizes: tuple[int, ...] = (200, 2_000, 5_000_000)
) -> list[tuple[int, str, str]]:
    """Twelve customers post without pause while `move` happens."""
    stop = threading.Event()
    started = threading.Semaphore(0)

    def shop(number: int) -> list[tuple[int, str, str]]:
        found = []
        while not stop.is_set():
            found.append(post(made, sizes[number % len(sizes)]))
            started.release()
        return found

    with ThreadPoolExecutor(12) as pool:
        shops = [pool.submit(shop, number) for number in range(12)]
        try:
            for _ in range(24):
                assert started.acquire(timeout=30)
            move()
            for _ in range(24):
                assert started.acquire(timeout=30)
        finally:
            stop.set()
        return [answer for shop_ in shops for answer in shop_.result()]


def hold(made: Plane) -> None:
    made.change(lambda table: with_writes(table, "orders", "hold", now=str(random.random())))
    await_applied(made)


def test_held_writes_wait_and_reach_the_new_owner_once(made: Plane) -> None:
    """Hold, drain, close the old side, open the new: the interleaving of a hand-over, to and fro."""
    start_haproxy(made)
    made.new.fenced.set()

    def hand_over_and_back() -> None:
        for to, closing, opening in (("new", made.old, made.new), ("old", made.new, made.old)) * 2:
            hold(made)
            closing.fenced.set()
            taken = len(made.old.writes) + len(made.new.writes)
            opening.fenced.clear()
            made.change(lambda table, to=to: with_writes(table, "orders", to))
            await_applied(made)
            await_until(lambda taken=taken: len(made.old.writes) + len(made.new.writes) > taken)

    with following(made):
        answers = customers(made, hand_over_and_back)
    assert {status for status, _, _ in answers} == {200}
    taken = made.old.writes + made.new.writes
    assert sorted(taken) == sorted(digest for _, digest, _ in answers), "each once, none lost"
    assert made.old.writes
    assert made.new.writes


def test_without_the_hold_the_fence_refuses_writes(made: Plane) -> None:
    """The naive order: close the old side, then flip. Nobody loses a write, but customers see the refusal."""
    start_haproxy(made)
    made.new.fenced.set()

    def naive() -> None:
        made.old.fenced.set()
        await_until(lambda: made.ask("POST", "/api/orders/", body=b"?").status == 503)
        made.new.fenced.clear()
        made.change(lambda table: with_writes(table, "orders", "new"))
        await_applied(made)

    with following(made):
        answers = customers(made, naive, sizes=(200,))
    assert {status for status, _, _ in answers} == {200, 503}
    accepted = [digest for status, digest, _ in answers if status == 200]
    assert sorted(made.old.writes + made.new.writes) == sorted(accepted)


def test_a_hold_is_confirmed_only_when_writes_that_began_before_it_are_answered(made: Plane) -> None:
    start_haproxy(made)
    made.old.seconds = 0.5
    with following(made), ThreadPoolExecutor(1) as pool:
        slow = pool.submit(post, made, 200)
        runtime = Runtime(made.target_socket())
        await_until(lambda: runtime.open_requests("orders_write_old") == 1)
        made.change(lambda table: with_writes(table, "orders", "hold", now="1"))
        await_until(lambda: "began before the hold" in made.said["note"])
        assert made.said["applied_version"] < made.table.version
        await_applied(made)
        assert runtime.open_requests("orders_write_old") == 0
        assert len(made.old.writes) == 1
        made.change(lambda table: released(table, "orders"))
        assert slow.result()[0] == 200


def test_a_long_answer_to_who_has_just_written_does_not_keep_a_hold_waiting(made: Plane) -> None:
    start_haproxy(made)
    made.old.seconds = 0.3
    runtime = Runtime(made.target_socket())
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(made.ask, "GET", "/api/orders/", {"Cookie": "sx_pin_orders=1"})
        await_until(lambda: runtime.open_requests("orders_read_old") == 1)
        assert runtime.open_requests("orders_write_old") == 0
        assert reader.result().side == "old"


def test_a_hold_that_nobody_ends_is_lifted_and_a_write_that_waited_too_long_is_refused(made: Plane) -> None:
    start_haproxy(made)
    route = replace(made.table.contexts["orders"], hold_deadline_seconds=0.3, write_timeout_seconds=30.0)
    made.change(lambda table: with_context(table, "orders", route))
    write_files(made.target.directory, haproxy.render(made.table, made.target).files)
    reload_haproxy(made)
    with following(made):
        made.change(lambda table: with_writes(table, "orders", "hold", now="1"))
        await_until(lambda: "was lifted at its deadline" in made.said["note"])
        assert post(made, 10)[0] == 200
    short = replace(route, hold_deadline_seconds=0.1, write_timeout_seconds=0.2)
    made.change(lambda table: with_writes(with_context(table, "orders", short), "orders", "hold", now="2"))
    write_files(made.target.directory, haproxy.render(made.table, made.target).files)
    reload_haproxy(made)
    status, digest, retry_after = post(made, 10)
    assert (status, retry_after, digest in made.old.writes + made.new.writes) == (503, "1", False)
