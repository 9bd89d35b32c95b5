"""Which tokens a service believes: every forgery known for such tokens is tried, and keys are rotated under way."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.http import HttpRequest
from django.test import RequestFactory

from migration_tools.routing.identity import keyring as keyrings
from migration_tools.routing.identity import renewal
from migration_tools.routing.identity.inquiry import Unreachable
from migration_tools.routing.identity.keys import derived_key, key_document, parse_keys, signing_keys
from migration_tools.routing.identity.reading import finding, identify
from migration_tools.routing.identity.tokens import TYPE, session_mark
from migration_tools.routing.identity.user import StranglerUser
from tests.identity_rig import SECRET, SESSION, jwks, token

KEY = derived_key(SECRET)
ADA = StranglerUser(pk=7, name="Ada")


@pytest.fixture(autouse=True)
def orders(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the orders service, which believes the monolith's key."""
    settings.MIGRATION_TOOLS = {"SIDE": "orders", "IDENTITY": "signed", "IDENTITY_JWKS": jwks()}
    monkeypatch.setattr(keyrings, "_rings", {})
    monkeypatch.setattr(renewal, "renewals", renewal.Renewals())


def request(value: str | None, *, session: str | None = SESSION) -> HttpRequest:
    made = RequestFactory().get("/")
    made.COOKIES |= {"sx_identity": value} if value is not None else {}
    made.COOKIES |= {"sessionid": session} if session is not None else {}
    return made


def who(value: str | None, *, session: str | None = SESSION) -> StranglerUser | None:
    return identify(request(value, session=session))


def claims(**changed: Any) -> dict[str, Any]:
    """Good ones, but for what is changed; for a day, since they are made when the tests are collected."""
    now = int(datetime.now(UTC).timestamp())
    mark = session_mark(SESSION)
    good = {"uid": 7, "sub": "7", "name": "Ada", "sid": mark, "iss": "monolith", "aud": ["orders"]}
    return {
        key: value for key, value in {**good, "iat": now, "exp": now + 86_400, **changed}.items() if value is not None
    }


def encoded(document: dict[str, Any], key: Any = KEY.private, algorithm: str = "ES256", **header: Any) -> str:
    return jwt.encode(document, key, algorithm=algorithm, headers={"kid": KEY.kid, "typ": TYPE, **header})


def by_hand(header: dict[str, Any], document: dict[str, Any], secret: bytes | None) -> str:
    """A token no library would sign: HMAC over the key's public half, or no signature at all."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, document)]
    signature = hmac.new(secret, b".".join(parts), hashlib.sha256).digest() if secret else b""
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def test_a_good_token_is_believed() -> None:
    assert who(token(7, "Ada")) == ADA
    assert who(encoded(claims())) == ADA, "or the forgeries below fail for another reason"


PUBLIC = KEY.private.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
JWK = json.dumps(key_document([KEY])["keys"][0]).encode()
OTHER_CURVE = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
MALLORY = derived_key("mallory")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(by_hand({"alg": "none", "typ": TYPE, "kid": KEY.kid}, claims(), None), id="no signature"),
        pytest.param(by_hand({"alg": "None", "typ": TYPE, "kid": KEY.kid}, claims(), None), id="None"),
        pytest.param(by_hand({"alg": "HS256", "typ": TYPE, "kid": KEY.kid}, claims(), PUBLIC), id="HMAC by public key"),
        pytest.param(by_hand({"alg": "HS256", "typ": TYPE, "kid": KEY.kid}, claims(), JWK), id="HMAC by public JWK"),
        pytest.param(by_hand({"alg": "ES256", "typ": TYPE, "kid": KEY.kid}, claims(), PUBLIC), id="HMAC called ES256"),
        pytest.param(encoded(claims(), OTHER_CURVE, "ES384"), id="another curve"),
        pytest.param(encoded(claims(), RSA, "RS256"), id="RSA"),
        pytest.param(encoded(claims(), MALLORY.private), id="another key under the known name"),
        pytest.param(encoded(claims(), MALLORY.private, kid=MALLORY.kid), id="unknown key"),
        pytest.param(
            encoded(claims(), MALLORY.private, kid=MALLORY.kid, jwk=key_document([MALLORY])["keys"][0]),
            id="brings its own key",
        ),
        pytest.param(
            encoded(claims(), MALLORY.private, kid=MALLORY.kid, jku="http://evil.example/jwks.json"),
            id="says where its key is",
        ),
        pytest.param(encoded(claims(), kid=""), id="no key named"),
        pytest.param(encoded(claims(), typ="JWT"), id="made for something else"),
        pytest.param(encoded(claims(iss="another")), id="another issuer"),
        pytest.param(encoded(claims(iss=None)), id="no issuer"),
        pytest.param(encoded(claims(aud=["payments"])), id="replayed from another audience"),
        pytest.param(encoded(claims(aud=None)), id="no audience"),
        pytest.param(encoded(claims(sid=session_mark("another"))), id="another session"),
        pytest.param(encoded(claims(sid=None)), id="no session"),
        pytest.param(encoded(claims(exp=None)), id="endless"),
        pytest.param(encoded(claims(exp=1)), id="expired"),
        pytest.param(encoded(claims(iat=4_000_000_000, exp=4_000_000_300)), id="not begun"),
        pytest.param(encoded(claims(uid=None)), id="nobody"),
        pytest.param(encoded(claims(uid=True)), id="a truth"),
        pytest.param(encoded(claims(name="x" * 5000)), id="too long"),
        *(
            pytest.param(text, id=repr(text))
            for text in ("", "x", "a.b", "a.b.c", "....", "\x00", "é.é.é", "e30.e30.e30")
        ),
    ],
)
def test_a_token_that_is_not_the_monoliths_for_this_service_and_session_is_nobodys(value: str) -> None:
    assert who(value) is None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_token_changed_in_any_part_is_nobodys(place: int) -> None:
    parts = token(7, "Ada").split(".")
    kept = parts[place]
    parts[place] = kept[:8] + ("A" if kept[8] != "A" else "B") + kept[9:]
    assert who(".".join(parts)) is None


def test_without_the_session_it_was_made_for_a_token_counts_for_nothing() -> None:
    assert who(token(7, "Ada"), session=None) is None
    assert who(token(7, "Ada"), session="t" * 32) is None


def test_a_token_ends_on_the_second() -> None:
    value, now = token(7, "Ada", life_seconds=300), datetime.now(UTC)
    with time_machine.travel(now + timedelta(seconds=298), tick=False):
        assert who(value) == ADA
    with time_machine.travel(now + timedelta(seconds=301), tick=False):
        assert who(value) is None


def test_declared_claims_arrive_and_others_do_not(settings: Any) -> None:
    settings.MIGRATION_TOOLS |= {"IDENTITY_CLAIMS": {"name": "get_full_name", "plan": "profile.plan"}}
    user = who(encoded(claims(plan="gold", secret="x")))
    assert user is not None
    assert user.claims == {"plan": "gold"}


def test_a_key_document_with_other_kinds_of_keys_yields_only_ours() -> None:
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(b"secret").decode(), "kid": "hmac", "alg": "HS256"}
    private = {**key_document([MALLORY])["keys"][0], "d": "AAAA"}
    document = {"keys": [secret, private, 7, {"kty": "EC", "crv": "P-256", "x": "!"}, *key_document([KEY])["keys"]]}
    assert set(parse_keys(document)) == {KEY.kid}
    with pytest.raises(ValueError, match="list of keys"):
        parse_keys({"keys": 7})


class Monolith:
    """What a service asks: keys and renewals, counted; `gone` cuts every connection."""

    def __init__(self) -> None:
        self.secrets = [SECRET]
        self.renewed: str | None = None
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.gone = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if outer.gone:
                    self.close_connection = True
                    return
                outer.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                document = jwks(*outer.secrets) if "jwks" in self.path else json.dumps({"token": outer.renewed})
                self.send_response(200)
                self.end_headers()
                self.wfile.write(document.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/strangle/identity/"

    def times(self, what: str) -> int:
        return sum(what in path for path, _ in self.asked)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def monolith(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Monolith]:
    made = Monolith()
    settings.MIGRATION_TOOLS |= {"IDENTITY_JWKS": "", "IDENTITY_URL": made.url, "IDENTITY_TOKEN": "bearer"}
    monkeypatch.setattr(keyrings, "ASK_EVERY_SECONDS", 0.0)
    yield made
    made.close()


def test_keys_are_rotated_without_anybody_noticing(monolith: Monolith) -> None:
    old = token(7, "Ada")
    assert who(old) == ADA
    monolith.secrets = ["new", SECRET]
    assert who(token(7, "Ada", secret="new")) == ADA, "an unknown key is asked for at once"
    assert who(old) == ADA, "while both are published"
    asked = monolith.times("jwks")
    assert who(token(7, "Ada", secret="new")) == ADA
    assert monolith.times("jwks") == asked, "a known key costs no question"


def test_a_withdrawn_key_is_forgotten(monolith: Monolith, settings: Any) -> None:
    value = token(7, "Ada")
    assert who(value) == ADA
    monolith.secrets = ["new"]
    assert who(value) == ADA, "until the keys are asked for again"
    settings.MIGRATION_TOOLS |= {"IDENTITY_KEYS_SECONDS": 0.0}
    assert who(value) is None


def test_unknown_keys_cannot_make_a_service_ask_on_and_on(monolith: Monolith, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyrings, "ASK_EVERY_SECONDS", 60.0)
    for number in range(20):
        assert who(token(7, "Ada", secret=f"mallory {number}")) is None
    assert monolith.times("jwks") == 1
    assert monolith.times("renew") == 1, "the answer for this session is remembered for a moment"


def test_a_monolith_that_is_away_takes_no_known_key_and_logs_nobody_out(monolith: Monolith, settings: Any) -> None:
    value = token(7, "Ada")
    monolith.gone = True
    with pytest.raises(Unreachable):
        who(value)
    monolith.gone = False
    assert who(value) == ADA
    monolith.gone = True
    settings.MIGRATION_TOOLS |= {"IDENTITY_KEYS_SECONDS": 0.0}
    assert who(value) == ADA


def test_an_ended_token_is_renewed_by_the_service_itself(monolith: Monolith) -> None:
    monolith.renewed = token(7, "Ada Renamed")
    made = request(token(7, "Ada", life_seconds=-10))
    assert identify(made) == StranglerUser(pk=7, name="Ada Renamed")
    found = finding(made)
    assert found is not None
    assert found.renewed == monolith.renewed
    (asked,) = [headers for path, headers in monolith.asked if "renew" in path]
    assert (asked["authorization"], asked["x-strangler-session"]) == ("Bearer bearer", SESSION)
    assert "cookie" not in asked, "whatever middleware the monolith has must not take this for a visit"


def test_an_ended_token_of_a_session_that_is_gone_is_nobodys_and_taken_away(monolith: Monolith) -> None:
    made = request(token(7, "Ada", life_seconds=-10))
    assert identify(made) is None
    found = finding(made)
    assert found is not None
    assert found.forget


def test_an_ended_token_is_believed_for_a_while_when_the_monolith_is_away_and_then_not(
    monolith: Monolith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "QUIET_SECONDS", 0.0)
    assert who(token(7, "Ada")) == ADA  # so that the keys are known
    monolith.gone = True
    assert who(token(7, "Ada", life_seconds=-800)) == ADA
    for value in (token(7, "Ada", life_seconds=-1000), token(7, "Ada", session="another"), None):
        with pytest.raises(Unreachable):
            who(value)


def test_a_renewed_token_that_is_forged_is_not_passed_on(monolith: Monolith) -> None:
    monolith.renewed = token(7, "Ada", secret="mallory")
    with pytest.raises(Unreachable):
        who(None)


def test_a_session_key_that_is_none_is_not_asked_about(monolith: Monolith) -> None:
    assert who(None, session="x\r\nHost: evil") is None
    assert monolith.times("renew") == 0


def test_keys_can_be_given_as_files_and_a_wrong_one_says_how_to_make_one(settings: Any) -> None:
    pems = [
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        for key in (KEY.private, MALLORY.private, OTHER_CURVE)
    ]
    settings.MIGRATION_TOOLS = {"IDENTITY_KEYS": pems[:2]}
    assert [key.kid for key in signing_keys()] == [KEY.kid, MALLORY.kid]
    for wrong in ("nonsense", pems[2]):
        settings.MIGRATION_TOOLS = {"IDENTITY_KEYS": [wrong]}
        with pytest.raises(Exception, match="key 1 of"):
            signing_keys()


def test_the_keys_of_djangos_secrets_are_the_same_everywhere_and_no_two_alike(settings: Any) -> None:
    settings.MIGRATION_TOOLS, settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = {}, "new", ["old", "older"]
    kids = [key.kid for key in signing_keys()]
    assert kids == [derived_key(secret).kid for secret in ("new", "old", "older")]
    assert len(set(kids)) == 3
    assert all("d" not in key for key in key_document(signing_keys())["keys"])
