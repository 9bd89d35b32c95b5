"""Customers leave for their service, sessions stay: signing up and logging in go on, whoever owns the customers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from legacy_monolith.accounts import directory
from legacy_monolith.accounts.models import User
from legacy_monolith.testing import Shopper
from migration_tools.capture.models import Ownership, Side
from tests.conftest import Cluster
from tests.races.scene import Background, until
from tests.services import rig
from tests.services.rig import FEED_TOKEN_MONOLITH, RunningService
from tests.services.road import ROAD, Road, road

pytest_plugins = ["tests.services.rig"]

Get = Callable[[str], RunningService]


@contextmanager
def asked(url: str) -> Iterator[None]:
    """Let the monolith ask the users service there for the block."""
    place = {"url": f"{url}/internal/accounts/", "token": FEED_TOKEN_MONOLITH}
    with override_settings(ACCOUNTS=place):
        yield
        directory.client(**place).close()
        directory._opened.cache_clear()


@pytest.fixture
def elsewhere(running: Get, db: None) -> Iterator[RunningService]:
    """The users service, which owns the customers; nothing carries its rows back into the monolith's table."""
    service = running("users")
    Ownership.objects.create(context="users", side=Side.SOURCE, owner=Side.TARGET)
    with asked(service.url):
        yield service


def email_of(service: RunningService, number: int) -> str:
    [(email,)] = service.rows("SELECT email FROM people_person WHERE id = %s", number)
    return str(email)


def test_who_signs_up_while_the_service_owns_the_customers_is_logged_in_before_a_copy_arrives(
    elsewhere: RunningService,
) -> None:
    shopper = Shopper().sign_up("Grace", "Hopper")
    assert not User.objects.exists()
    assert shopper.get("/api/accounts/me/").json()["name"] == "Grace Hopper"
    email = email_of(elsewhere, shopper.id)
    again = {"email": email.upper(), "password": "whatever else", "first_name": "", "last_name": ""}
    assert Shopper().call("POST", "/api/accounts/signup/", again).status_code == 400
    other = Shopper()
    wrong = other.call("POST", "/api/accounts/login/", {"email": email, "password": "long enougH"})
    assert (wrong.status_code, list(wrong.json()["errors"])) == (400, ["password"])
    right = other.call("POST", "/api/accounts/login/", {"email": email, "password": "long enough"})
    assert (right.status_code, right.json()["id"]) == (200, shopper.id)
    assert other.get("/api/accounts/me/").json()["id"] == shopper.id


def test_nobody_is_logged_out_while_the_service_does_not_answer(elsewhere: RunningService) -> None:
    shopper = Shopper().sign_up()
    with override_settings(ACCOUNTS={"url": "http://127.0.0.1:1/", "token": ""}):
        for path in ("/api/accounts/me/", "/orders/"):
            answer = shopper.get(path)
            assert (answer.status_code, answer["Retry-After"]) == (503, "1"), path
    assert shopper.get("/api/accounts/me/").status_code == 200


@pytest.fixture
def leaving(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Road]:
    """The customers before their first phase, and their service on the other database."""
    with (
        django_db_blocker.unblock(),
        road(cluster, templates, "users") as way,
        rig.serving("users", str(way.service.info.dbname)) as url,
        asked(url),
    ):
        yield way


@contextmanager
def signing_up(acknowledged: list[int], failed: list[str]) -> Iterator[None]:
    """Sign up one after another, and log in again, until the block ends."""
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.is_set():
                shopper = Shopper().sign_up()
                acknowledged.append(shopper.id)
                answer = shopper.get("/api/accounts/me/")
                if answer.status_code != 200 or answer.json()["id"] != shopper.id:
                    failed.append(f"{shopper.id}: {answer.status_code} {answer.content[:200]!r}")
        finally:
            connections.close_all()

    working = [Background(work) for _ in range(2)]
    try:
        yield
    finally:
        stop.set()
        for each in working:
            each.outcome()


def test_all_who_sign_up_while_customers_leave_come_back_and_leave_are_on_both_sides(leaving: Road) -> None:
    acknowledged: list[int] = []
    failed: list[str] = []

    def more() -> None:
        wanted = len(acknowledged) + 6
        until(lambda: len(acknowledged) >= wanted, "six sign up", 30)

    with signing_up(acknowledged, failed):
        leaving.go(*ROAD[:5])
        more()
        leaving.run("strangle_rollback")
        more()
        leaving.go("strangle_verify", "strangle_verify", "strangle_cutover")
        more()
    assert failed == []
    assert len(set(acknowledged)) == len(acknowledged)

    def known(conn: Any, table: str) -> list[int]:
        query = f"SELECT id FROM {table} WHERE id = ANY (%s) ORDER BY id"
        return [row[0] for row in conn.execute(query.encode(), [acknowledged]).fetchall()]

    assert known(leaving.service, "people_person") == sorted(acknowledged)
    until(lambda: known(leaving.shop, "accounts_user") == sorted(acknowledged), "the copy has caught up", 20)
