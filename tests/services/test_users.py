"""The users service knows oneself, and tells the monolith's login alone whose password it is."""

from collections.abc import Callable

import httpx2
import pytest

from tests.services.rig import FEED_TOKEN_MONOLITH, RunningService

pytest_plugins = ["tests.services.rig"]

Get = Callable[[str], RunningService]


@pytest.fixture
def monolith(running: Get) -> httpx2.Client:
    """What the monolith's login is."""
    headers = {"Authorization": f"Bearer {FEED_TOKEN_MONOLITH}"}
    return httpx2.Client(base_url=running("users").url, headers=headers, timeout=30)


def test_an_address_is_called_taken_only_when_it_is(running: Get, monolith: httpx2.Client) -> None:
    """Another row that is in the way, here one of a number that the sequence gives next, is a fault of the service."""
    service = running("users")
    [(number,)] = service.rows(
        """INSERT INTO people_person (id, email, password_hash, given_name, family_name, works_here, may_everything,
               active, joined_at) OVERRIDING SYSTEM VALUE
           SELECT nextval(pg_get_serial_sequence('people_person', 'id')) + 1, 'first@example.com', '!', 'A', 'B',
               false, false, true, now() RETURNING id"""
    )
    body = {"email": "second@example.com", "password": "long enough", "first_name": "Grace", "last_name": "Hopper"}
    with monolith:
        refused = monolith.post("/internal/accounts/", json=body)
        assert (refused.status_code, "taken" in refused.text) == (500, False)
        made = monolith.post("/internal/accounts/", json=body)
    assert (made.status_code, made.json()["id"]) == (201, number + 1)


def test_one_signs_up_by_the_monolith_is_recognised_and_renames_oneself(running: Get, monolith: httpx2.Client) -> None:
    service = running("users")
    body = {"email": "Grace@Example.com", "password": "long enough", "first_name": "Grace", "last_name": "Hopper"}
    with monolith:
        made = monolith.post("/internal/accounts/", json=body)
        assert made.status_code == 201
        number = made.json()["id"]
        assert monolith.post("/internal/accounts/", json=body).status_code == 400
        asked = {"email": "grace@EXAMPLE.com", "password": "long enough"}
        assert monolith.post("/internal/accounts/recognise/", json=asked).json() == made.json()
        assert monolith.get(f"/internal/accounts/{number}/").json() == made.json()
        for wrong in ({**asked, "password": "another one"}, {**asked, "email": "nobody@example.com"}):
            assert monolith.post("/internal/accounts/recognise/", json=wrong).status_code == 404
    with service.browser(number) as browser:
        changed = browser.patch("/api/accounts/me/", json={"first_name": "Amazing"}).json()
        assert changed == {
            "id": number,
            "email": "grace@example.com",
            "name": "Amazing Hopper",
            "first_name": "Amazing",
            "last_name": "Hopper",
        }
        assert browser.get("/api/accounts/me/").json() == changed
    told = service.rows(
        """SELECT event_type, payload FROM strangle_outbox
           WHERE aggregate_id = %s AND event_type <> 'user.known' ORDER BY seq""",
        str(number),
    )
    assert told == [
        ("user.registered", {"user_id": number, "name": "Grace Hopper", "version": 1}),
        ("user.renamed", {"user_id": number, "name": "Amazing Hopper", "version": 2}),
    ]


@pytest.mark.parametrize("token", ["", "Bearer wrong", f"Basic {FEED_TOKEN_MONOLITH}"])
def test_nobody_but_the_monolith_may_ask_for_accounts(running: Get, token: str) -> None:
    headers = {"Authorization": token} if token else {}
    with httpx2.Client(base_url=running("users").url, headers=headers, timeout=30) as client:
        assert client.get("/internal/accounts/1/").status_code == 403
        assert client.post("/internal/accounts/recognise/", json={}).status_code == 403
