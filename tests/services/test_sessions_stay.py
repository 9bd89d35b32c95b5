"""Customers leave for their service, sessions stay: signing up and logging in go on, whoever owns the customers."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.test import Client, override_settings

from legacy_monolith.accounts import directory
from legacy_monolith.accounts.models import User
from legacy_monolith.testing import Shopper
from migration_tools.capture.models import Ownership, Side
from tests.conftest import Cluster
from tests.races.scene import Background, beside, until
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


@contextmanager
def answering(*answers: tuple[int, dict[str, Any]] | None) -> Iterator[list[str]]:
    """A users service that gives these answers, one a request, None by closing without one; what it was asked."""
    asked_for: list[str] = []
    left = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked_for.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            answer = next(left)
            self.close_connection = True
            if answer is not None:
                body = json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Background(server.serve_forever)
        with asked(f"http://127.0.0.1:{server.server_port}"):
            yield asked_for
        server.shutdown()
        serving.outcome()


WANTED = {"email": "ada@example.com", "password": "long enough", "first_name": "Ada", "last_name": "Byron"}
MADE = {"id": 7, "is_staff": False, "is_superuser": False, "is_active": True, **WANTED}


@pytest.fixture
def left(db: None) -> None:
    """The service owns the customers."""
    Ownership.objects.create(context="users", side=Side.SOURCE, owner=Side.TARGET)


@pytest.mark.parametrize("answer", [None, (500, {})], ids=["closed", "failed"])
def test_a_sign_up_that_may_have_been_done_is_not_sent_again(left: None, answer: Any) -> None:
    with answering(answer) as asked_for:
        said = Shopper().call("POST", "/api/accounts/signup/", WANTED)
        assert (said.status_code, len(asked_for)) == (502, 1)
    assert "you may have an account now" in said.json()["detail"]
    with answering(answer) as asked_for:
        page = Client().post("/signup/", WANTED)
        assert (page.status_code, len(asked_for)) == (200, 1)
    assert "you may have an account now" in page.content.decode()


def test_a_sign_up_that_the_fence_refuses_is_sent_until_it_is_taken(left: None) -> None:
    with answering((503, {}), (503, {}), (201, MADE)) as asked_for:
        said = Shopper().call("POST", "/api/accounts/signup/", WANTED)
        assert (said.status_code, said.json()["id"], len(asked_for)) == (201, 7, 3)


def test_what_the_service_refuses_is_said_as_it_is_and_not_as_an_address_that_is_taken(left: None) -> None:
    refused = (400, {"errors": {"first_name": ["Null characters are not allowed."]}})
    with answering(refused):
        said = Shopper().call("POST", "/api/accounts/signup/", WANTED)
        assert (said.status_code, list(said.json()["errors"])) == (400, ["first_name"])
    with answering(refused):
        assert "Null characters" in Client().post("/signup/", WANTED).content.decode()


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


@pytest.mark.thorough
def test_all_who_sign_up_while_customers_leave_come_back_and_leave_are_on_both_sides(leaving: Road) -> None:
    acknowledged: list[int] = []

    def sign_up(stop: threading.Event) -> None:
        while not stop.is_set():
            shopper = Shopper().sign_up()
            acknowledged.append(shopper.id)
            answer = shopper.get("/api/accounts/me/")
            assert (answer.status_code, answer.json().get("id")) == (200, shopper.id), answer.content

    def more() -> None:
        wanted = len(acknowledged) + 6
        until(lambda: len(acknowledged) >= wanted, "six sign up", 30)

    with beside(sign_up, 2):
        leaving.go(*ROAD[:5])
        more()
        leaving.run("strangle_rollback")
        more()
        leaving.go("strangle_verify", "strangle_verify", "strangle_cutover")
        more()
    assert len(set(acknowledged)) == len(acknowledged)

    def known(conn: Any, table: str) -> list[int]:
        query = f"SELECT id FROM {table} WHERE id = ANY (%s) ORDER BY id"
        return [row[0] for row in conn.execute(query.encode(), [acknowledged]).fetchall()]

    assert known(leaving.service, "people_person") == sorted(acknowledged)
    until(lambda: known(leaving.shop, "accounts_user") == sorted(acknowledged), "the copy has caught up", 20)
