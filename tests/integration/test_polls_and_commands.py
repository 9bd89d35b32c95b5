"""Polled tables with an age, and commands that arrive with one effect."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import RequestFactory

from migration_tools.errors import ReplicationError
from migration_tools.kernel import points
from migration_tools.replication import commands, polling
from migration_tools.replication.polling import Poll, polls
from migration_tools.replication.taking import once
from tests.examples.served import Served
from tests.integration.replication_rig import keeper, kept, rows
from tests.leaf import Leaf, serving
from tests.races.scene import Background, until

__all__ = ["keeper", "kept"]


class Goods:
    """A service with a list of rows, an ETag and a Last-Modified of it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [
            {"id": 1, "name": "one", "at": "2025-01-01T11:00:00+00:00"},
            {"id": 2, "name": "two", "at": "2025-01-01T12:00:00+02:00"},
        ]
        self.leaf: Leaf = None  # type: ignore[assignment]

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, Any]:
        tag = f'"{hash(str(self.rows))}"'
        self.leaf.answer_headers = {"ETag": tag}
        if headers.get("If-None-Match") == tag:
            return 304, None
        return 200, [row for row in self.rows if str(row["at"]) >= query.get("updated_since", "")]


@pytest.fixture
def goods(kept: Served, settings: Any) -> Iterator[Goods]:
    made = Goods()
    with serving(goods=made.answer) as leaves:
        made.leaf = leaves["goods"]
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SERVICES": {"goods": made.leaf.url}}
        yield made
    polls.clear()


def test_unchanged_rows_are_not_sent_again_and_changed_ones_replace_all(goods: Goods) -> None:
    poll = Poll(name="goods", service="goods", path="/goods/", every_seconds=60)
    assert polling.read(poll).age_seconds is None
    assert polling.ask(poll)
    assert not polling.ask(poll)
    assert "If-None-Match" in goods.leaf.calls[1][2]
    goods.rows[:] = [{"id": 3, "name": "three", "at": "2025-01-02T10:00:00+00:00"}]
    assert polling.ask(poll)
    assert polling.read(poll).documents == {"3": goods.rows[0]}
    assert polling.read(poll, [1]).documents == {}


def test_while_the_service_is_down_for_an_hour_reads_answer_with_their_age_and_catch_up_after(goods: Goods) -> None:
    poll = Poll(name="goods", service="goods", path="/goods/", every_seconds=60)
    polling.ask(poll)
    goods.leaf.stop()
    rows("UPDATE strangle_poll SET answered_at = now() - interval '1 hour'")
    for failures in (1, 2, 3):
        with pytest.raises(ReplicationError, match="'goods' does not answer"):
            polling.ask(poll)
        [(counted, pause)] = rows("SELECT failures, extract(epoch FROM next_at - now())::float8 FROM strangle_poll")
        assert counted == failures
        assert 60 * 2 ** (failures - 1) * 0.75 < pause < 60 * 2 ** (failures - 1) * 1.25
    assert polling.due() == []
    reading = polling.read(poll)
    assert len(reading.documents) == 2
    assert 3600 <= int(reading.headers()["Age"]) < 3660
    goods.leaf.start()
    goods.rows[0]["name"] = "changed"
    assert polling.ask(poll)
    reading = polling.read(poll)
    assert reading.documents["1"]["name"] == "changed"
    assert int(reading.headers()["Age"]) < 60


def test_only_what_is_newer_is_asked_for_where_rows_say_when_they_changed(goods: Goods) -> None:
    poll = Poll(name="goods", service="goods", path="/goods/", every_seconds=60, since="at")
    polling.ask(poll)
    # Noon by the clock of its zone is the later text, and the earlier moment.
    assert rows("SELECT cursor FROM strangle_poll") == [("2025-01-01T11:00:00+00:00",)]
    goods.rows.append({"id": 3, "name": "three", "at": "2025-01-03T00:00:00+00:00"})
    polling.ask(poll)
    assert "updated_since=2025-01-01T11" in goods.leaf.calls[-1][1]
    assert polling.read(poll).documents.keys() == {"1", "2", "3"}


def test_clients_do_not_ask_in_step(goods: Goods) -> None:
    poll = Poll(name="goods", service="goods", path="/goods/", every_seconds=100, jitter=0.2)
    pauses = set()
    for _ in range(20):
        polling.ask(poll)
        pauses.add(rows("SELECT extract(epoch FROM next_at - now())::int FROM strangle_poll")[0][0])
    assert len(pauses) > 5
    assert all(79 <= pause <= 120 for pause in pauses)


class Till:
    """A service that takes money once for each Idempotency-Key, as `once` has it; fails before or after its effect."""

    def __init__(self) -> None:
        self.fail_before = self.lose_after = 0

    def answer(self, path: str, query: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        try:
            return self._answer(path, headers)
        finally:
            connection.close()

    def _answer(self, path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        if self.fail_before:
            self.fail_before -= 1
            return 500, {}
        request = RequestFactory().post(path, b"{}", "application/json",
                                        headers={"Idempotency-Key": headers["Idempotency-Key"]})  # fmt: skip

        @once
        def take(request: HttpRequest) -> HttpResponse:
            if path == "/refuse/":
                return JsonResponse({"detail": "no"}, status=402)
            rows("INSERT INTO till VALUES (%s)", 10)
            return JsonResponse({"taken": 10}, status=201)

        response = take(request)
        if self.lose_after:
            self.lose_after -= 1
            return 503, {}
        import json

        return response.status_code, json.loads(response.content)


@pytest.fixture
def till(kept: Served, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Till]:
    rows("DROP TABLE IF EXISTS till")
    rows("CREATE TABLE till (amount int)")
    monkeypatch.setattr(commands, "FIRST_PAUSE_SECONDS", 0.0)
    made = Till()
    with serving(till=made.answer) as leaves:
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SERVICES": {"till": leaves["till"].url}}
        yield made


def wanted(path: str = "/take/") -> str:
    with transaction.atomic():
        return commands.want("till", "POST", path, {"amount": 10})


def send_all() -> int:
    sent = 0
    while commands.send_due():
        sent += 1
    return sent


@pytest.mark.parametrize("how", ["fail_before", "lose_after"])
def test_a_server_that_fails_five_times_sees_exactly_one_effect(till: Till, how: str) -> None:
    setattr(till, how, 5)
    wanted()
    assert send_all() == 6
    assert rows("SELECT count(*) FROM till") == [(1,)]
    assert rows("SELECT state, attempts, status, answer::text FROM strangle_command") == [
        ("d", 6, 201, '{"taken": 10}')
    ]


def test_without_the_key_each_repetition_has_an_effect(till: Till) -> None:
    """What `once` is for: the same server, each delivery with a key of its own."""
    for delivery in range(6):
        till.answer("/take/", {}, {"Idempotency-Key": str(delivery)})
    assert rows("SELECT count(*) FROM till") == [(6,)]


def test_a_sender_killed_after_sending_sends_again_without_a_second_effect(till: Till) -> None:
    class Killed(BaseException):
        """What a dying process does not handle."""

    def die() -> None:
        raise Killed

    wanted()
    with points.on("replication.sent", die), pytest.raises(Killed):
        commands.send_due()
    assert rows("SELECT state, count(*) FROM strangle_command GROUP BY 1") == [("w", 1)]
    assert commands.send_due() is None, "the lease holds until it has run out"
    rows("UPDATE strangle_command SET next_at = now()")
    assert send_all() == 1
    assert rows("SELECT count(*) FROM till") == [(1,)]


def test_two_deliveries_at_once_have_one_effect_and_one_answer(till: Till) -> None:
    headers = {"Idempotency-Key": "k1"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: till.answer("/take/", {}, headers), range(8)))
    assert answers == [(201, {"taken": 10})] * 8
    assert rows("SELECT count(*) FROM till") == [(1,)]


def test_a_key_that_comes_with_another_request_is_refused(till: Till) -> None:
    headers = {"Idempotency-Key": "k2"}
    assert till.answer("/take/", {}, headers)[0] == 201
    assert till.answer("/take/?twice", {}, headers)[0] == 422


def test_a_refusal_is_dead_at_once_and_a_failure_after_many_attempts_and_both_can_be_retried(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ATTEMPTS", 3)
    refused, failed = wanted("/refuse/"), wanted()
    till.fail_before = 0
    assert commands.send_due() == refused
    till.fail_before = 3
    assert send_all() == 3
    assert [(dead["id"], dead["status"]) for dead in commands.listed()] == [(refused, 402), (failed, 500)]
    assert commands.retry(failed)
    assert send_all() == 1
    assert rows("SELECT count(*) FROM till") == [(1,)]


def test_a_command_exists_exactly_if_its_change_does(till: Till) -> None:
    with pytest.raises(ReplicationError, match="outside a transaction"):
        commands.want("till", "POST", "/take/")
    with transaction.atomic():
        commands.want("till", "POST", "/take/")
        transaction.set_rollback(True)
    assert send_all() == 0
    with transaction.atomic(), pytest.raises(ReplicationError, match="has method 'GET'"):
        commands.want("till", "GET", "/take/")


LOST = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query ~ %s"


def test_a_sender_whose_database_goes_away_waits_for_it(till: Till) -> None:
    stop = threading.Event()
    sender = Background(lambda: commands.run(stop))
    try:
        until(lambda: rows(LOST, "strangle_command") == [(True,)], "its session has ended")
        wanted()
        until(lambda: rows("SELECT state FROM strangle_command") == [("d",)] or not sender.running(), "it is sent")
    finally:
        stop.set()
        sender.outcome()
    assert rows("SELECT count(*) FROM till") == [(1,)]


def test_polls_whose_database_goes_away_wait_for_it(goods: Goods) -> None:
    poll = Poll(name="goods", service="goods", path="/goods/", every_seconds=60)
    stop, told = threading.Event(), list[str]()
    polling_on = Background(lambda: polling.run(stop, told.append))
    try:
        until(lambda: len(polling.read(poll).documents) == 2, "the first answer is kept")
        until(lambda: rows(LOST, "strangle_poll") == [(True,)], "its session has ended")
        goods.rows.append({"id": 3, "name": "three", "at": "2025-01-02T10:00:00+00:00"})
        rows("UPDATE strangle_poll SET next_at = now()")
        until(lambda: len(polling.read(poll).documents) == 3 or not polling_on.running(), "it asks again")
    finally:
        stop.set()
        polling_on.outcome()
    assert len(polling.read(poll).documents) == 3
    assert told == []
