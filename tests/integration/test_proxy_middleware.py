"""The fence's middleware in a real Django stack on a real database: refused writes become retryable."""

from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.request import Request
from rest_framework.response import Response

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


def swallows(request: HttpRequest) -> HttpResponse:
    """Catches everything after a write of another table, mends what it can, and shows a page of its own."""
    try:
        with transaction.atomic():
            execute("INSERT INTO django_session VALUES ('half', 'done', now())")
            execute(FENCED)
    except Exception:
        execute("INSERT INTO django_session VALUES ('half', 'mended', now())")
    return HttpResponse("a problem occurred, please try again")


def deadlock(request: HttpRequest) -> HttpResponse:
    execute(FENCED.replace("40S01", "40P01"))
    raise AssertionError


urlpatterns = [
    path("refused_in_drf/", refused_in_drf),
    *(path(f"{view.__name__}/", view) for view in (refused, wrapped, broken, deadlock, swallows)),
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
    assert half_done() == 0


@pytest.mark.parametrize("view", ["deadlock", "broken"])
def test_other_failures_are_left_alone(client: Client, view: str) -> None:
    response = client.post(f"/{view}/")
    assert response.status_code == 500
    assert "x-strangler-fenced" not in response


def test_a_view_that_catches_everything_cannot_keep_the_refusal_under_the_strict_one(
    client: Client, settings: Any
) -> None:
    kept = client.post("/swallows/")
    assert (kept.status_code, half_done()) == (200, 1), "what the strict one is for"
    execute("DELETE FROM django_session")
    settings.MIDDLEWARE = [name.replace(".FenceM", ".StrictFenceM") for name in settings.MIDDLEWARE]
    client = Client(raise_request_exception=False)
    response = client.post("/swallows/")
    assert (response.status_code, response["x-strangler-fenced"], half_done()) == (503, "1", 0)
    assert client.post("/deadlock/").status_code == 500
    execute("SELECT 1")


def half_done() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_session WHERE session_key = 'half'")
        (found,) = cursor.fetchone()
    return int(found)
