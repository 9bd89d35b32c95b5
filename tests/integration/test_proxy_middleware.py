"""The middlewares in a real Django stack on a real database: refused writes, and the identity cookie."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth import get_user_model, login, logout
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.request import Request
from rest_framework.response import Response

from migration_tools.routing.identity import COOKIE, StranglerUser, read_identity, sign_identity

pytestmark = [pytest.mark.usefixtures("pair"), pytest.mark.urls(__name__)]

FENCED = "DO $$ BEGIN RAISE EXCEPTION 'orders are elsewhere' USING ERRCODE = '40S01'; END $$"


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def refused(request: HttpRequest) -> HttpResponse:
    execute("INSERT INTO django_session VALUES ('half', 'done', now())")
    execute(FENCED)
    raise AssertionError


@api_view(["POST"])
@authentication_classes([])
def refused_in_drf(request: Request) -> Response:
    execute(FENCED)
    raise AssertionError


def wrapped(request: HttpRequest) -> HttpResponse:
    try:
        execute(FENCED)
    except OperationalError as error:
        raise RuntimeError("could not save") from error
    raise AssertionError


def broken(request: HttpRequest) -> HttpResponse:
    """Swallows the refusal and goes on in the broken transaction."""
    try:
        with transaction.atomic():
            execute(FENCED)
    except OperationalError:
        transaction.set_rollback(True)
    raise RuntimeError("something of its own")


def deadlock(request: HttpRequest) -> HttpResponse:
    execute(FENCED.replace("40S01", "40P01"))
    raise AssertionError


def enter(request: HttpRequest) -> HttpResponse:
    login(request, get_user_model().objects.get(), backend="django.contrib.auth.backends.ModelBackend")
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


urlpatterns = [
    path("refused_in_drf/", refused_in_drf),
    *(path(f"{view.__name__}/", view) for view in (refused, wrapped, broken, deadlock, enter, leave, rename, plain)),
]


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


@pytest.mark.parametrize("view", ["refused", "refused_in_drf", "wrapped"])
def test_a_refused_write_is_a_marked_503_and_nothing_is_half_done(client: Client, view: str) -> None:
    response = client.post(f"/{view}/", b"x" * 200_000, content_type="application/octet-stream")
    assert response.status_code == 503
    assert response["x-strangler-fenced"] == "1"
    assert response["Retry-After"] == "1"
    assert response["Content-Type"] == "application/problem+json"
    payload = response.wsgi_request.environ["wsgi.input"]
    assert payload.read() == b"", "an unread body makes the server reset the connection"
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_session WHERE session_key = 'half'")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("view", ["deadlock", "broken"])
def test_other_failures_are_left_alone(client: Client, view: str) -> None:
    response = client.post(f"/{view}/")
    assert response.status_code == 500
    assert "x-strangler-fenced" not in response


@pytest.fixture
def ada() -> Any:
    return get_user_model().objects.create_user(
        email="ada@example.com", password="secret", first_name="Ada", last_name="L"
    )


def identity(client: Client) -> StranglerUser | None:
    request = RequestFactory().get("/")
    if COOKIE in client.cookies and client.cookies[COOKIE].value:
        request.COOKIES[COOKIE] = client.cookies[COOKIE].value
    return read_identity(request)


def test_login_gives_an_identity_and_logout_takes_it(client: Client, ada: Any) -> None:
    assert COOKIE not in client.get("/plain/").cookies
    client.get("/enter/")
    assert identity(client) == StranglerUser(pk=ada.pk, name="Ada L", is_staff=False)
    assert client.cookies[COOKIE]["httponly"]
    assert COOKIE not in client.get("/plain/").cookies, "a fresh cookie is not set again"
    client.get("/leave/")
    assert identity(client) is None


def test_a_changed_name_renews_the_identity(client: Client, ada: Any) -> None:
    client.force_login(ada)
    client.get("/rename/")
    assert identity(client) == StranglerUser(pk=ada.pk, name="Grace L")


def test_the_identity_of_somebody_else_is_replaced(client: Client, ada: Any) -> None:
    client.force_login(ada)
    client.cookies[COOKIE] = sign_identity(StranglerUser(pk=ada.pk + 1, name="Ada L"))
    client.get("/plain/")
    assert identity(client) == StranglerUser(pk=ada.pk, name="Ada L")


def test_a_stale_identity_is_renewed_and_an_old_one_counts_for_nothing(client: Client, ada: Any) -> None:
    client.force_login(ada)
    client.get("/plain/")
    value = client.cookies[COOKIE].value
    request = RequestFactory().get("/")
    request.COOKIES[COOKIE] = value
    now = datetime.now(tz=UTC)
    with time_machine.travel(now + timedelta(seconds=1900), tick=False):
        assert read_identity(request)
        client.get("/plain/")
        assert client.cookies[COOKIE].value != value
    with time_machine.travel(now + timedelta(seconds=3700), tick=False):
        assert read_identity(request) is None


@pytest.mark.parametrize("value", ["", "x", "a:b:c", "."])
def test_a_forged_identity_counts_for_nothing(value: str, settings: Any) -> None:
    request = RequestFactory().get("/")
    request.COOKIES[COOKIE] = value
    assert read_identity(request) is None
    request.COOKIES[COOKIE] = sign_identity(StranglerUser(pk=1, name="Ada"))
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "IDENTITY_KEY": "another"}
    assert read_identity(request) is None


def test_pages_for_strangers_do_not_vary_by_cookie(client: Client) -> None:
    assert "Cookie" not in client.get("/plain/").get("Vary", "")
