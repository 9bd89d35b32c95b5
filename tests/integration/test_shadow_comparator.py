"""The comparator between two real HTTP sides: what it counts, what it leaves out, and what it never tells."""

import http.client
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from migration_tools.routing.shadow.differences import DiffKind
from migration_tools.routing.shadow.rules import Rule
from migration_tools.routing.table import with_context, with_writes
from tests.integration.proxy_rig import await_until
from tests.integration.shadow_rig import TABLE, Bench, bench

SECRET = "sessionid=s3cr3t-of-ada; sx_identity=ada"


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr("proxy.judging.CONFIRM_PAUSES_SECONDS", (0.05, 0.1))
    monkeypatch.setattr("proxy.comparator.TELL_SECONDS", 0.05)
    # Nobody is slow here but where a test says so, however slow the machine.
    with bench(timeout_seconds=30.0) as made:
        yield made


def test_equal_answers_are_compared_and_nothing_more(desk: Bench) -> None:
    desk.read("/api/orders/17/?page=2", cookie=SECRET, accept="text/html", x_strangler_force="new", if_none_match="x")
    found = desk.settled(1)
    assert (found.compared, found.different, found.late, found.places) == (1, 0, 0, {})
    assert list(desk.told) == [("orders", "/api/orders/{id}/?page")]
    assert (len(desk.old.asked), len(desk.new.asked)) == (2, 1), "owner, candidate, owner again"
    for asked in (*desk.old.asked, *desk.new.asked):
        assert asked["x-strangler-shadow"] == "1"
        assert (asked["cookie"], asked["host"], asked["accept"]) == (SECRET, "shop.test", "text/html")
        assert not {"x-strangler-force", "if-none-match"} & asked.keys()


def test_what_differs_in_the_owner_itself_is_noise_and_what_lies_beside_it_is_not(desk: Bench) -> None:
    desk.old.say = lambda asked: {"now": asked, "total": "10.00"}
    desk.new.say = lambda asked: {"now": -asked, "total": 10.0}
    desk.read(count=5)
    found = desk.settled(5)
    assert (found.compared, found.different) == (5, 5)
    place = found.places["$.total", DiffKind.TYPE_OR_PRECISION]
    assert (place.count, place.noise, len(place.samples)) == (5, 0, 3)
    assert place.samples[0].owner == "text like 99.99"
    assert place.samples[0].candidate == "number with 1 decimal"
    assert found.places["$.now", DiffKind.CHANGED].noise >= 5
    assert found.places["$.now", DiffKind.CHANGED].count == 0


def test_a_candidate_that_catches_up_is_late_and_not_different(desk: Bench) -> None:
    desk.new.say = lambda asked: {"total": "10.00" if asked > 1 else "9.00"}
    desk.read()
    found = desk.settled(1)
    assert (found.compared, found.different, found.late) == (1, 0, 1)
    assert found.places == {}


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (lambda side: setattr(side, "status", 404), DiffKind.STATUS),
        (lambda side: setattr(side, "wrote", "database default"), DiffKind.WRITE),
        (lambda side: side.close(), DiffKind.FAILED),
    ],
)
def test_a_candidate_that_fails_is_different_by_class(desk: Bench, break_it: object, kind: DiffKind) -> None:
    desk.read()
    desk.settled(1)
    assert callable(break_it)
    break_it(desk.new)
    desk.rules.append(Rule(number=1, pattern="", path="status", kind=DiffKind.STATUS, action="ignore"))
    desk.read()
    found = desk.settled(2)
    assert (found.compared, found.different) == (2, 1)
    assert [k for _, k in found.places] == [kind]


def test_a_candidate_that_takes_too_long_is_different_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.judging.CONFIRM_PAUSES_SECONDS", ())
    with bench(timeout_seconds=3.0) as desk:
        desk.new.gate.clear()
        desk.read()
        found = desk.settled(1)
    assert (found.compared, found.different) == (1, 1)
    assert [kind for _, kind in found.places] == [DiffKind.SLOW]


def test_a_side_that_does_not_say_that_it_guards_never_sees_a_cookie(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.asking.PROBE_SECONDS", 60.0)
    desk.new.guarded = False
    desk.read(count=20, cookie=SECRET)
    found = desk.settled(20)
    assert found.skips == {"the candidate is not guarded": 20}
    assert (desk.new.asked, found.compared) == ([], 0)
    assert 1 <= desk.new.probes <= 4, "probed once by each worker, not for each read"


def test_a_side_that_stops_guarding_is_left_alone_at_once(desk: Bench) -> None:
    desk.read()
    desk.settled(1)
    desk.new.guarded = False
    desk.read(count=20, cookie=SECRET)
    found = desk.settled(21)
    assert found.compared == 1
    assert len(desk.new.asked) <= 1 + desk.comparator.options.workers


def test_after_the_cutover_the_service_is_the_owner(desk: Bench) -> None:
    desk.table = replace(with_writes(TABLE, "orders", "new"), version=2)
    desk.new.say = lambda asked: {"total": "10.00", "more": 1}
    await_until(lambda: desk.comparator._known.table.version == 2)
    desk.read()
    assert list(desk.settled(1).places) == [("$.more", DiffKind.MISSING)]
    assert len(desk.new.asked) > len(desk.old.asked)


def test_a_rule_approved_meanwhile_is_in_force_when_it_is_next_told(desk: Bench) -> None:
    desk.new.say = lambda asked: {"total": "11.00"}
    desk.read()
    assert desk.settled(1).different == 1
    desk.rules.append(Rule(number=1, pattern="", path="$.total", kind=DiffKind.CHANGED, action="ignore"))
    await_until(lambda: desk.comparator._known.rules.get("orders"))
    desk.read()
    found = desk.settled(2)
    assert (found.compared, found.different) == (2, 1)
    assert (found.places["$.total", DiffKind.CHANGED].count, found.places["$.total", DiffKind.CHANGED].ruled) == (1, 1)


def test_more_than_it_can_do_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.comparator.TELL_SECONDS", 0.05)
    with bench(workers=2, waiting=5, timeout_seconds=60.0) as desk:
        desk.old.gate.clear()
        threads = [threading.Thread(target=desk.read, kwargs={"count": 50}) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive(), "taking a read never waits"
        await_until(lambda: desk.total().dropped >= 193)
        desk.old.gate.set()
        found = desk.settled(200)
    assert (found.compared + found.dropped, found.different) == (200, 0)
    assert 5 <= found.compared <= 7


def test_what_cannot_be_told_now_is_told_later(desk: Bench) -> None:
    desk.outage = True
    desk.read(count=3)
    await_until(lambda: len(desk.new.asked) == 3)
    assert desk.told == {}
    desk.outage = False
    assert desk.settled(3).compared == 3


def test_nothing_personal_is_logged_or_told(desk: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    desk.old.say = lambda asked: {"name": "Ada Lovelace", "ada@example.com": 1}
    desk.new.say = lambda asked: {"name": "Bob Byron", "bob@example.com": 2}
    desk.read("/api/orders/ada@example.com/?email=ada@example.com", cookie=SECRET, authorization="Bearer abc")
    told = repr([*desk.told, desk.settled(1)])
    assert "text of 12 characters" in told
    assert "$.{key}" in told
    for secret in ("Ada", "Bob", "ada@", "bob@", "s3cr3t", "Bearer"):
        assert secret not in told
        assert secret not in caplog.text


def test_the_owner_s_own_writes_are_told_and_nothing_is_compared(desk: Bench) -> None:
    desk.old.wrote = "database default"
    desk.read()
    found = desk.settled(1)
    assert (found.compared, found.different) == (0, 0)
    assert found.skips == {"the owner writes while it reads": 1}
    assert list(found.places) == [("owner", DiffKind.WRITE)]


def test_its_server_takes_mirrored_reads_only(desk: Bench) -> None:
    address = desk.comparator.address

    def send(method: str, path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
        connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
        status = connection.getresponse().status
        connection.close()
        return status

    assert send("GET", "/api/orders/") == 404
    assert send("GET", "/livez") == 200
    assert send("POST", "/api/orders/", x_strangler_shadow="1") == 501
    assert send("GET", "/elsewhere/", x_strangler_shadow="1") == 204
    assert send("GET", "/api/orders/", x_strangler_shadow="1", host="shop.test") == 204
    assert desk.settled(1).compared == 1
    assert desk.old.asked[0]["host"] == "shop.test"


def test_a_context_whose_upstream_nobody_knows_costs_no_worker(desk: Bench) -> None:
    wrong = replace(TABLE.context("orders"), service="nowhere")
    desk.table = replace(with_context(TABLE, "orders", wrong), version=3)
    await_until(lambda: desk.comparator._known.table.version == 3)
    desk.read(count=10)
    assert desk.settled(10).skips == {"the comparator failed (KeyError)": 10}
    desk.table = replace(TABLE, version=4)
    await_until(lambda: desk.comparator._known.table.version == 4)
    desk.read()
    assert desk.settled(11).compared == 1
