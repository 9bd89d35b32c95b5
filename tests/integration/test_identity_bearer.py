"""Which Bearer tokens a service believes: those of the issuers it names, each by its own keys, and no forgery."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import time_machine
from django.http import HttpRequest
from django.test import RequestFactory

from migration_tools.errors import SettingsError
from migration_tools.routing.identity import keyring as keyrings
from migration_tools.routing.identity.bearer import issue_for_api
from migration_tools.routing.identity.inquiry import Unreachable
from migration_tools.routing.identity.keys import API, SESSIONS, derived_key, key_document, signing_keys
from migration_tools.routing.identity.reading import finding, identify
from migration_tools.routing.identity.tokens import API_TYPE, TYPE
from migration_tools.routing.identity.user import StranglerUser
from tests import identity_rig
from tests.integration.test_identity_tokens import JWK, OTHER_CURVE, PUBLIC, RSA, by_hand, claims, encoded
from tests.integration.test_identity_tokens import KEY as MONOLITHS

USERS, PARTNERS, MALLORY = (derived_key(name, API) for name in ("users' secret", "partners' secret", "mallory"))
GRACE = StranglerUser(pk=9, name="Grace")


@dataclass
class Published:
    """Two issuers' JWKS, over HTTP."""

    url: str
    keys: dict[str, list[Any]]


@pytest.fixture(scope="module")
def published() -> Iterator[Published]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(key_document(made.keys[self.path.split("/")[1]])).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = Published(url=f"http://127.0.0.1:{server.server_port}", keys={"users": [USERS], "partners": [PARTNERS]})
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def orders(settings: Any, monkeypatch: pytest.MonkeyPatch, published: Published) -> None:
    """Be the orders service, which believes the monolith beside sessions and two issuers without."""
    issuers = {name: f"{published.url}/{name}/jwks.json" for name in ("users", "partners")}
    settings.MIGRATION_TOOLS = {
        "SIDE": "orders", "IDENTITY": "signed", "IDENTITY_JWKS": identity_rig.jwks(), "IDENTITY_ISSUERS": issuers
    }  # fmt: skip
    monkeypatch.setattr(keyrings, "_rings", {})


def said(**changed: Any) -> dict[str, Any]:
    return claims(**{"uid": 9, "sub": "9", "name": "Grace", "iss": "users", "sid": None, **changed})


def signed(document: dict[str, Any], key: Any = USERS, algorithm: str = "ES256", **header: Any) -> str:
    private = getattr(key, "private", key)
    return encoded(document, private, algorithm, **{"kid": getattr(key, "kid", USERS.kid), "typ": API_TYPE, **header})


def request(authorization: str, cookies: dict[str, str] | None = None) -> HttpRequest:
    made = RequestFactory().get("/", headers={"Authorization": authorization})
    made.COOKIES |= cookies or {}
    return made


def who(token: str) -> StranglerUser | None:
    return identify(request(f"Bearer {token}"))


def test_each_issuer_is_believed_by_its_own_keys_and_makes_nobody_staff() -> None:
    assert who(signed(said(is_staff=True))) == GRACE
    assert who(signed(said(iss="partners"), PARTNERS)) == GRACE


HEAD = {"typ": API_TYPE, "kid": USERS.kid}
USERS_JWK = json.dumps(key_document([USERS])["keys"][0]).encode()


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(by_hand({**HEAD, "alg": "none"}, said(), None), id="no signature"),
        pytest.param(by_hand({**HEAD, "alg": "HS256"}, said(), PUBLIC), id="HMAC by a public key"),
        pytest.param(by_hand({**HEAD, "alg": "HS256"}, said(), USERS_JWK), id="HMAC by the public JWK"),
        pytest.param(by_hand({**HEAD, "alg": "ES256"}, said(), USERS_JWK), id="HMAC called ES256"),
        pytest.param(by_hand({**HEAD, "alg": "HS256"}, said(iss="monolith"), JWK), id="HMAC by the monolith's JWK"),
        pytest.param(signed(said(), OTHER_CURVE, "ES384"), id="another curve"),
        pytest.param(signed(said(), RSA, "RS256"), id="RSA"),
        pytest.param(signed(said(aud=["payments"])), id="another audience"),
        pytest.param(signed(said(aud=None)), id="no audience"),
        pytest.param(signed(said(iss="payments")), id="an issuer that is not declared"),
        pytest.param(signed(said(iss=None)), id="no issuer"),
        pytest.param(by_hand({**HEAD, "alg": "ES256"}, said(iss=["users"]), PUBLIC), id="an issuer that is no text"),
        pytest.param(signed(said(), PARTNERS), id="the other issuer's key and name"),
        pytest.param(signed(said(), PARTNERS, kid=USERS.kid), id="the other issuer's key under this one's name"),
        pytest.param(signed(said(iss="partners")), id="says to be of the other issuer"),
        pytest.param(signed(said(iss="monolith"), MONOLITHS), id="the monolith's is bound to a session"),
        pytest.param(signed(said(), MONOLITHS), id="the monolith signs for an issuer"),
        pytest.param(signed(said(), MALLORY), id="unknown key"),
        pytest.param(signed(said(), MALLORY, jwk=key_document([MALLORY])["keys"][0]), id="brings its own key"),
        pytest.param(signed(said(), MALLORY, jku="http://evil.example/jwks.json"), id="says where its key is"),
        pytest.param(signed(said(), kid=""), id="no key named"),
        pytest.param(signed(said(), typ=TYPE), id="of the type of sessions' tokens"),
        pytest.param(signed(said(), typ="JWT"), id="made for something else"),
        pytest.param(identity_rig.token(9, "Grace"), id="the cookie's token"),
        pytest.param(signed(said(exp=1)), id="expired"),
        pytest.param(signed(said(exp=None)), id="endless"),
        pytest.param(signed(said(iat=4_000_000_000, exp=4_000_000_300)), id="not begun"),
        pytest.param(signed(said(uid=None)), id="nobody"),
        pytest.param(signed(said(name="x" * 5000)), id="too long"),
        *(pytest.param(text, id=repr(text)) for text in ("", "x", "a.b.c", "....", "é.é.é", "e30.e30.e30", "e30.W10.")),
    ],
)
def test_what_is_not_a_declared_issuers_for_this_service_is_nobodys(token: str) -> None:
    assert who(token) is None


def test_a_token_ends_and_no_grace_is_given(published: Published) -> None:
    token = signed(said())
    assert who(token) == GRACE
    with time_machine.travel(said()["exp"] + 1):
        assert who(token) is None, "the signature is remembered, the time is not"


def test_a_token_of_an_api_client_is_no_cookie() -> None:
    token = signed(said(iss="monolith", sid="s"), MONOLITHS)
    made = RequestFactory().get("/")
    made.COOKIES |= {"sx_identity": token, "sessionid": identity_rig.SESSION}
    assert identify(made) is None


@pytest.mark.parametrize("authorization", ["Bearer nonsense", "Bearer", "bEaReR x", "Bearer a, Bearer b"])
def test_a_bearer_header_decides_alone_and_cookies_are_not_asked(authorization: str) -> None:
    made = request(authorization, identity_rig.cookies(7, "Ada"))
    assert identify(made) is None
    found = finding(made)
    assert found is not None
    assert (found.bearer, found.renewed, found.forget) == (True, None, False)


@pytest.mark.parametrize("authorization", ["Basic eDp5", "", "Bearerx y", "nonsense"])
def test_another_header_leaves_it_to_the_cookies_which_need_their_csrf_token(authorization: str) -> None:
    made = request(authorization, identity_rig.cookies(7, "Ada"))
    assert identify(made) == StranglerUser(pk=7, name="Ada")
    found = finding(made)
    assert found is not None
    assert not found.bearer


def test_without_declared_issuers_a_bearer_header_says_nothing(settings: Any) -> None:
    settings.MIGRATION_TOOLS |= {"IDENTITY_ISSUERS": {}}
    assert who(signed(said())) is None
    made = request(f"Bearer {signed(said())}", identity_rig.cookies(7, "Ada"))
    assert identify(made) == StranglerUser(pk=7, name="Ada")
    found = finding(made)
    assert found is not None
    assert not found.bearer, "so her cookies need their CSRF token"


def test_an_issuer_that_cannot_be_asked_for_its_keys_is_no_strangers_fault(settings: Any) -> None:
    settings.MIGRATION_TOOLS |= {"IDENTITY_ISSUERS": {"users": "http://127.0.0.1:9/jwks.json"}}
    with pytest.raises(Unreachable):
        who(signed(said()))


def test_keys_are_rotated_as_secrets_are(settings: Any, published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyrings, "ASK_EVERY_SECONDS", 0.0)
    old = signed(said())
    assert who(old) == GRACE
    issuing = {"SIDE": "users", "IDENTITY": "signed", "IDENTITY_API_AUDIENCE": ["orders"]}
    believing, settings.MIGRATION_TOOLS = settings.MIGRATION_TOOLS, issuing
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the new secret", ["users' secret"]
    token = issue_for_api(GRACE)
    monkeypatch.setitem(published.keys, "users", list(signing_keys(API)))
    settings.MIGRATION_TOOLS = believing
    assert who(token) == GRACE, "the new key is asked for"
    assert who(old) == GRACE, "the fallback's is published"


def test_one_secret_is_two_keys() -> None:
    assert derived_key("secret", API).kid != derived_key("secret", SESSIONS).kid


def test_all_mistakes_of_the_issuers_are_said_at_once_with_what_mends_them(settings: Any) -> None:
    settings.MIGRATION_TOOLS = {
        "SIDE": "users",
        "IDENTITY": "session",
        "IDENTITY_API_AUDIENCE": ["orders"],
        "IDENTITY_ISSUERS": {
            "monolith": "http://m/jwks.json",
            "users": "http://u/jwks.json",
            "a": "http://same/jwks.json",
            "b": "http://same/jwks.json",
            "c": "ftp://c/jwks.json",
            "d": "http://user:word@d/jwks.json",
            "e": "http://e/?keys",
            "f": "http://f:port/jwks.json",
            "g": "",
            "h": None,
            "": "http://h/jwks.json",
        },
    }
    with pytest.raises(SettingsError) as raised:
        identify(request(""))
    for expected in (
        "set IDENTITY to 'signed'",
        "names 'monolith', whose tokens count beside its sessions alone; remove it",
        "names 'users', which is this side",
        "one URL for 'a' and 'b'; give each issuer keys of its own",
        *(f"['{name}'] is" for name in "cdefgh"),
        "names the issuer ''",
    ):
        assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"IDENTITY_ISSUERS": ["users"]}, "must be a dict of issuers"),
        ({"SIDE": "monolith", "IDENTITY_API_AUDIENCE": ["orders"]}, "set it at a service with a SIDE of its own"),
        ({"IDENTITY_API_AUDIENCE": "orders"}, "must be a list of texts"),
    ],
)
def test_each_further_mistake_is_said(settings: Any, changed: dict[str, Any], expected: str) -> None:
    settings.MIGRATION_TOOLS |= changed
    with pytest.raises(SettingsError, match=expected):
        identify(request(""))
