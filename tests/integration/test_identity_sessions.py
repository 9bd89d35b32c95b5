"""The monolith's login: the cookie it gives, the token it renews, and its sessions read without being touched."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
import time_machine
from django.conf import settings as django_settings
from django.contrib.auth import get_user, get_user_model, login, logout
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import include, path

from migration_tools.routing.identity import keyring
from migration_tools.routing.identity.issuing import issue
from migration_tools.routing.identity.keys import derived_key
from migration_tools.routing.identity.middleware import IdentityMiddleware
from migration_tools.routing.identity.reading import COOKIE, identify
from migration_tools.routing.identity.sessions import session_user
from migration_tools.routing.identity.tokens import InvalidToken, Token, read
from migration_tools.routing.identity.user import StranglerUser
from migration_tools.routing.table import user_bucket_key

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

MONOLITHS, SERVICES = "the key of the monolith, which is long enough", "the key of a service, which is long enough"
BEARER = {"Authorization": "Bearer tests-feed-token-orders"}


def enter(request: HttpRequest) -> HttpResponse:
    login(request, get_user_model().objects.get())
    return HttpResponse()


def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


def rename(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    user.first_name = "Grace"
    user.save()
    return HttpResponse()


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.user.is_authenticated}")


urlpatterns = [
    *(path(f"{view.__name__}/", view) for view in (enter, leave, rename, plain, who)),
    path("strangle/", include("migration_tools.urls")),
]


@pytest.fixture
def ada(settings: Any) -> Any:
    settings.SECRET_KEY = MONOLITHS
    return get_user_model().objects.create_user(
        email="ada@example.com", password="secret", first_name="Ada", last_name="L"
    )


@pytest.fixture
def client(ada: Any) -> Client:
    return Client(raise_request_exception=False)


def told(client: Client, *, secret: str = MONOLITHS) -> Token | None:
    """What the cookie says, read by the monolith's published key."""
    value = client.cookies[COOKIE].value if COOKIE in client.cookies else ""
    keys = keyring.parse_keys({"keys": [_jwk(secret)]})
    try:
        return read(value, find=keys.get, issuer="monolith", audience="orders") if value else None
    except InvalidToken:
        return None


def _jwk(secret: str) -> dict[str, Any]:
    from migration_tools.routing.identity.keys import key_document

    found: dict[str, Any] = key_document([derived_key(secret)])["keys"][0]
    return found


def renewed(client: Client, session_key: str | None) -> Any:
    """What a service is told of a session."""
    headers = {**BEARER, "x-strangler-session": session_key or ""}
    return client.get("/strangle/identity/renew/", headers=headers).json()["token"]


def sessions() -> list[tuple[Any, ...]]:
    from django.contrib.sessions.models import Session

    return list(Session.objects.order_by("pk").values_list("pk", "session_data", "expire_date"))


def test_login_gives_an_identity_and_logout_takes_it(client: Client, ada: Any) -> None:
    assert COOKIE not in client.get("/plain/").cookies
    client.get("/enter/")
    token = told(client)
    assert token is not None
    assert token.user == StranglerUser(pk=ada.pk, name="Ada L", is_staff=False)
    assert client.cookies[COOKIE]["httponly"]
    assert client.cookies["sx_bucket"].value == user_bucket_key(ada.pk)
    assert not client.get("/plain/").cookies, "fresh cookies are not set again"
    client.get("/leave/")
    assert told(client) is None


def test_a_changed_name_renews_the_identity(client: Client, ada: Any) -> None:
    client.force_login(ada)
    client.get("/rename/")
    token = told(client)
    assert token is not None
    assert token.user.name == "Grace L"


@pytest.mark.parametrize(("uid", "session"), [(1, None), (None, "another")])
def test_a_token_of_another_user_or_session_is_replaced(
    client: Client, ada: Any, uid: int | None, session: str | None
) -> None:
    client.force_login(ada)
    own = client.session.session_key
    client.cookies[COOKIE] = issue(StranglerUser(pk=ada.pk + (uid or 0), name="Ada L"), session or own)
    client.get("/plain/")
    token = told(client)
    assert token is not None
    assert token.user.pk == ada.pk


def test_a_token_is_renewed_in_the_second_half_of_its_life(client: Client, ada: Any) -> None:
    client.force_login(ada)
    client.get("/plain/")
    value, now = client.cookies[COOKIE].value, datetime.now(tz=UTC)
    with time_machine.travel(now + timedelta(seconds=140), tick=False):
        client.get("/plain/")
        assert client.cookies[COOKIE].value == value
    with time_machine.travel(now + timedelta(seconds=160), tick=False):
        client.get("/plain/")
        assert client.cookies[COOKIE].value != value


def test_a_rotated_key_signs_at_once_and_the_old_one_stays_published(client: Client, ada: Any, settings: Any) -> None:
    client.force_login(ada)
    client.get("/plain/")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the next key, which is long enough as well", [MONOLITHS]
    client.get("/plain/")
    assert told(client, secret=settings.SECRET_KEY) is not None
    published = {key["kid"] for key in client.get("/strangle/identity/jwks.json").json()["keys"]}
    assert published == {derived_key(settings.SECRET_KEY).kid, derived_key(MONOLITHS).kid}


def test_pages_for_strangers_do_not_vary_by_cookie(client: Client) -> None:
    assert "Cookie" not in client.get("/plain/").get("Vary", "")


def test_a_service_gets_a_token_for_a_session_and_nobody_else_does(client: Client, ada: Any) -> None:
    client.force_login(ada)
    assert client.get("/strangle/identity/renew/").status_code == 401
    assert client.get("/strangle/identity/renew/", headers={"Authorization": "Bearer x"}).status_code == 401
    client.cookies[COOKIE] = renewed(client, client.session.session_key)
    assert told(client) is not None
    assert renewed(client, "x" * 32) is None
    assert client.get("/strangle/identity/renew/", headers=BEARER).json() == {"token": None}


def test_a_side_that_signs_nothing_publishes_nothing(client: Client, settings: Any) -> None:
    for changed in ({"IDENTITY": "session"}, {"IDENTITY_URL": "http://monolith/strangle/identity/"}):
        settings.MIGRATION_TOOLS = {**django_settings.MIGRATION_TOOLS, "IDENTITY": "signed", **changed}
        for name in ("jwks.json", "renew/"):
            assert client.get(f"/strangle/identity/{name}", headers=BEARER).status_code == 404


@pytest.fixture
def key(client: Client, ada: Any, settings: Any) -> str:
    """The key of Ada's session, seen from a service: its own SECRET_KEY, the monolith's among the fallbacks."""
    client.force_login(ada)
    found = client.session.session_key
    assert found is not None
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = SERVICES, [MONOLITHS]
    settings.MIGRATION_TOOLS = {"SIDE": "orders", "IDENTITY": "session"}
    return found


def as_monolith(settings: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = MONOLITHS, []


def by_service(key: str) -> HttpResponse:
    """One read by a service with IdentityMiddleware and nothing else."""
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = key
    answer = IdentityMiddleware(who)(request)
    assert isinstance(answer, HttpResponse)
    return answer


def test_a_service_reads_the_session_and_leaves_it_as_it_is(client: Client, key: str, settings: Any, ada: Any) -> None:
    before = sessions()
    answer = by_service(key)
    assert answer.content == b"True"
    assert not answer.cookies
    assert sessions() == before
    as_monolith(settings)
    assert client.get("/who/").content == b"True"


def test_djangos_own_reading_would_log_her_out_of_the_monolith(client: Client, key: str, settings: Any) -> None:
    request = RequestFactory().get("/")
    request.session = import_module(django_settings.SESSION_ENGINE).SessionStore(key)
    assert get_user(request).is_authenticated, "the service knows her"
    as_monolith(settings)
    assert client.get("/who/").content == b"False", "else the test above shows nothing"


def test_a_renewal_leaves_the_session_as_it_is_though_the_key_is_rotated(
    client: Client, ada: Any, settings: Any
) -> None:
    client.force_login(ada)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the next key, which is long enough as well", [MONOLITHS]
    before, key = sessions(), client.session.session_key
    assert renewed(Client(), key)
    assert sessions() == before
    assert client.get("/who/").content == b"True"
    assert sessions() != before, "a visit rotates it, else this shows nothing"


def _new_password(user: Any, client: Client) -> None:
    user.set_password("another")
    user.save()


def _inactive(user: Any, client: Client) -> None:
    user.is_active = False
    user.save()


def _gone(user: Any, client: Client) -> None:
    user.delete()


@pytest.mark.parametrize("change", [_new_password, _inactive, _gone])
def test_who_is_no_longer_let_in_is_nobody_and_the_session_stays(
    key: str, ada: Any, client: Client, change: Callable[[Any, Client], None]
) -> None:
    change(ada, client)
    before = sessions()
    assert session_user(key) is None
    assert by_service(key).content == b"False"
    assert sessions() == before


def test_sessions_that_do_not_fit_are_nobodys(key: str, settings: Any) -> None:
    assert session_user(key) is not None
    for other in ("", "x", "x" * 32, "\x00"):
        assert session_user(other) is None
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    assert session_user(key) is None
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    with time_machine.travel(datetime.now(UTC) + timedelta(days=15), tick=False):
        assert session_user(key) is None
    settings.SECRET_KEY_FALLBACKS = []
    assert session_user(key) is None, "without the monolith's key a session cannot be read"


def test_claims_are_what_the_setting_says(key: str, settings: Any, ada: Any) -> None:
    settings.MIGRATION_TOOLS |= {"IDENTITY_CLAIMS": {"name": "get_full_name", "mail": "email", "no": "such.thing"}}
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = key
    user = identify(request)
    assert user is not None
    assert (user.pk, user.name, user.claims) == (ada.pk, "Ada L", {"mail": "ada@example.com", "no": None})
