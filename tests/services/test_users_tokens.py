"""The users service gives API clients tokens of its own, and other services believe them beside no cookie."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import jwt
import pytest

from tests import identity_rig
from tests.services import rig
from tests.services.rig import CSRF, RunningService

pytest_plugins = ["tests.services.rig"]

Get = Callable[[str], RunningService]
TOKEN = "/api/accounts/token/"
OWNER = """INSERT INTO strangle_ownership (context, side, owner, epoch) VALUES ('users', 'target', %s, 1)
           ON CONFLICT (context) DO UPDATE SET owner = EXCLUDED.owner"""
RESERVATIONS = "/api/stock/reservations/"


@pytest.fixture
def users(running: Get) -> Iterator[RunningService]:
    """The service while it owns the customers."""
    service = running("users")
    service.rows(OWNER, "target")
    yield service
    service.rows("DELETE FROM strangle_ownership WHERE context = 'users'")


@pytest.fixture
def grace(users: RunningService) -> dict[str, Any]:
    """The credentials of somebody who has signed up."""
    asked = {"email": f"grace-{uuid.uuid4().hex}@example.com", "password": "long enough"}
    headers = {"Authorization": f"Bearer {rig.FEED_TOKEN_MONOLITH}"}
    body = {**asked, "first_name": "Grace", "last_name": "Hopper"}
    assert httpx2.post(f"{users.url}/internal/accounts/", json=body, headers=headers).status_code == 201
    return asked


def ask(service: RunningService, credentials: dict[str, Any], address: str = "") -> httpx2.Response:
    """Ask for a token, from an address of its own: the throttle counts by it."""
    headers = {"X-Forwarded-For": address or str(uuid.uuid4())}
    return httpx2.post(f"{service.url}{TOKEN}", json=credentials, headers=headers, timeout=30)


def bearer(service: RunningService, credentials: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {ask(service, credentials).json()['access_token']}"}


def test_right_credentials_give_a_short_token_signed_by_the_published_key(
    users: RunningService, grace: dict[str, Any]
) -> None:
    answer = ask(users, {**grace, "email": grace["email"].upper()})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert "set-cookie" not in answer.headers
    given = answer.json()
    assert (given["token_type"], given["expires_in"]) == ("Bearer", 300)
    published = httpx2.get(f"{users.url}/.well-known/jwks.json")
    assert published.headers["Content-Type"] == "application/jwk-set+json"
    (key,) = published.json()["keys"]
    assert "d" not in key
    header = jwt.get_unverified_header(given["access_token"])
    assert (header["alg"], header["kid"], header["typ"]) == ("ES256", key["kid"], "sx-api+jwt")
    said = jwt.decode(
        given["access_token"], jwt.PyJWK(key).key, algorithms=["ES256"], audience="inventory", issuer="users"
    )
    assert said["exp"] - said["iat"] == 300
    assert said.keys() == {"uid", "sub", "name", "iss", "aud", "iat", "exp"}
    assert (said["sub"], said["name"]) == (str(said["uid"]), "Grace Hopper")


def test_no_wrong_credentials_are_told_apart(users: RunningService, grace: dict[str, Any]) -> None:
    wrong = [{**grace, "password": "another one"}, {**grace, "email": "nobody@example.com"}]
    answers = [ask(users, each) for each in wrong]
    users.rows("UPDATE people_person SET active = false WHERE email = %s", grace["email"])
    answers.append(ask(users, grace))
    assert [each.status_code for each in answers] == [401] * 3, "the last is deactivated"
    assert len({each.text for each in answers}) == 1
    assert {each.headers["Content-Type"] for each in answers} == {"application/problem+json"}
    assert {each.headers["WWW-Authenticate"] for each in answers} == {'Bearer realm="users"'}


def test_who_does_not_own_the_customers_gives_no_tokens(users: RunningService, grace: dict[str, Any]) -> None:
    users.rows(OWNER, "source")
    for credentials in (grace, {**grace, "password": "another one"}):
        refused = ask(users, credentials)
        assert refused.status_code == 503
        assert refused.headers["x-strangler-fenced"] == "1"
        assert refused.headers["Retry-After"] == "1"
    users.rows(OWNER, "target")
    assert ask(users, grace).status_code == 200


@pytest.mark.parametrize("known", [True, False])
def test_tries_for_one_login_are_counted_from_wherever(
    users: RunningService, grace: dict[str, Any], known: bool
) -> None:
    wrong = {"email": grace["email"] if known else f"{uuid.uuid4().hex}@example.com", "password": "wrong"}
    answers = [ask(users, {**wrong, "email": spelt(wrong["email"], at)}) for at in range(11)]
    assert [each.status_code for each in answers] == [401] * 10 + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].headers["Content-Type"] == "application/problem+json"
    assert ask(users, {**wrong, "password": grace["password"]}).status_code == 429, "nor is the right one tried"


def spelt(email: str, at: int) -> str:
    """One login in three spellings."""
    return (email, email.upper(), f" {email} ")[at % 3]


def test_tries_from_one_address_are_counted_whatever_it_says_before_the_proxy(users: RunningService) -> None:
    seen = str(uuid.uuid4())
    answers = [
        ask(users, {"email": f"{at}@example.com", "password": "wrong"}, f"forged-{at}, {seen}") for at in range(61)
    ]
    assert [each.status_code for each in answers] == [401] * 60 + [429]
    assert "Retry-After" in answers[-1].headers


@pytest.fixture
def inventory(cluster: Any, users: RunningService, running: Get, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an inventory that has been told of the users service."""
    service = running("inventory")
    service.rows("INSERT INTO depot_stock (product_id, on_hand) VALUES (777, 5) ON CONFLICT DO NOTHING")
    monkeypatch.setenv("STRANGLE_IDENTITY_ISSUERS", f"users={users.url}/.well-known/jwks.json")
    with rig.serving("inventory", service.database) as url:
        yield url


def test_a_customer_reserves_and_reads_elsewhere_by_the_token_alone(
    users: RunningService, grace: dict[str, Any], inventory: str
) -> None:
    wanted = {"reference": str(uuid.uuid4()), "lines": [{"product": 777, "quantity": 1}]}
    headers = bearer(users, grace)
    made = httpx2.post(f"{inventory}{RESERVATIONS}", json=wanted, headers=headers, timeout=30)
    assert made.status_code == 201, made.text
    me = httpx2.get(f"{users.url}/api/accounts/me/", headers=headers).json()
    assert me["email"] == grace["email"], "the issuer believes itself"
    released = httpx2.delete(f"{inventory}{RESERVATIONS}{made.json()['id']}/", headers=headers)
    assert released.status_code == 200, "it is hers"


def test_cookies_beside_a_token_neither_help_nor_are_helped(
    users: RunningService, grace: dict[str, Any], inventory: str
) -> None:
    shown = identity_rig.cookies(7_000_000, "Ada Lovelace", audience=("inventory",))
    wanted = {"reference": str(uuid.uuid4()), "lines": [{"product": 777, "quantity": 1}]}

    def post(headers: dict[str, str]) -> httpx2.Response:
        with httpx2.Client(base_url=inventory, cookies=shown, timeout=30) as client:
            return client.post(RESERVATIONS, json=wanted, headers=headers)

    assert post({}).status_code == 403, "a forged request: her cookies, no CSRF token"
    for forged in ("Bearer", "Bearer x.y.z", "bearer nonsense", "Bearer a, Bearer b"):
        answer = post({"Authorization": forged})
        assert answer.status_code == 401, f"{forged!r} opens no way past CSRF, and her cookies are not asked"
        assert "set-cookie" not in answer.headers
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert post({"Authorization": "Basic eDp5"}).status_code == 403, "another scheme is nobody's word"
    made = post(bearer(users, grace))
    assert made.status_code == 201
    with httpx2.Client(base_url=inventory, cookies={**shown, "csrftoken": CSRF}, timeout=30) as ada:
        path = f"{RESERVATIONS}{made.json()['id']}/"
        assert ada.delete(path, headers={"X-CSRFToken": CSRF}).status_code == 404, "it is Grace's, not Ada's"


def test_a_service_that_was_told_of_no_issuer_believes_none(
    users: RunningService, grace: dict[str, Any], running: Get
) -> None:
    url = f"{running('inventory').url}{RESERVATIONS}"
    assert httpx2.post(url, json={}, headers=bearer(users, grace)).status_code == 401


def test_the_document_says_how_a_token_is_had(users: RunningService) -> None:
    operation = users.document["paths"][TOKEN]["post"]
    assert operation.get("security", []) == []
    assert {"200", "400", "401", "429", "503"} <= operation["responses"].keys()
    schemes = users.document["components"]["securitySchemes"]
    assert schemes["bearerToken"] == {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    security = users.document["paths"]["/api/accounts/me/"]["get"]["security"]
    assert security == [{"identityCookie": []}, {"bearerToken": []}], "either, not both"
