"""Views that try everything a read must not do, beside the whole of the monolith's own."""

import contextlib
import uuid
from pathlib import Path
from typing import Any

from celery import Celery
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.core import mail
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.cache import cache_page
from django.views.decorators.csrf import csrf_exempt

from legacy_monolith.catalog.models import Category
from legacy_monolith.urls import urlpatterns as monolith

LEFT = Path(settings.LEFT_BEHIND)
queue = Celery("site", broker="filesystem://", set_as_current=False)
queue.conf.broker_transport_options = {
    "data_folder_in": str(LEFT / "tasks"),
    "data_folder_out": str(LEFT / "tasks"),
    "control_folder": str(LEFT / "control"),
    "store_processed": False,
}


@queue.task(name="count")
def count() -> None:
    """Never run: no worker is there."""


def write(request: HttpRequest) -> HttpResponse:
    Category.objects.create(name=uuid.uuid4().hex)
    return HttpResponse("written")


@transaction.non_atomic_requests
def write_unprotected(request: HttpRequest) -> HttpResponse:
    Category.objects.create(name=uuid.uuid4().hex)
    return HttpResponse("written")


def swallow(request: HttpRequest) -> HttpResponse:
    with contextlib.suppress(Exception), transaction.atomic():
        Category.objects.create(name=uuid.uuid4().hex)
    return HttpResponse(f"{Category.objects.count() >= 0}")


def escape(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ WRITE")
    return write(request)


@transaction.non_atomic_requests
def durable(request: HttpRequest) -> HttpResponse:
    with transaction.atomic(durable=True):
        return HttpResponse(f"{Category.objects.count() >= 0}")


def on_commit(request: HttpRequest) -> HttpResponse:
    transaction.on_commit(lambda: (LEFT / "committed").touch())
    return HttpResponse("registered")


def session(request: HttpRequest, what: str) -> HttpResponse:
    if what == "save":
        request.session["seen"] = uuid.uuid4().hex
        request.session.save()
    elif what == "rotate":
        request.session.cycle_key()
    elif what == "flush":
        request.session.flush()
    return JsonResponse({"seen": request.session.get("seen")})


def sign_in(request: HttpRequest) -> HttpResponse:
    login(request, get_user_model().objects.get(pk=1))
    return HttpResponse("welcome")


def cookie(request: HttpRequest) -> HttpResponse:
    answer = HttpResponse("sweet")
    answer.set_cookie("flavour", "salt")
    return answer


def send(request: HttpRequest) -> HttpResponse:
    sent = mail.send_mail("s", "b", "a@example.com", ["b@example.com"])
    own = mail.get_connection("django.core.mail.backends.filebased.EmailBackend", file_path=str(LEFT / "mail"))
    sent += mail.EmailMessage("s", "b", to=["b@example.com"], connection=own).send()
    return HttpResponse(f"{sent}")


def task(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{bool(count.delay())}")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def rows() -> Any:
        Category.objects.create(name=uuid.uuid4().hex)
        yield b"row"

    return StreamingHttpResponse(rows())


@cache_page(60)
def cached(request: HttpRequest) -> HttpResponse:
    return HttpResponse(uuid.uuid4().hex)


@csrf_exempt
def anything(request: HttpRequest) -> HttpResponse:
    return write(request)


def who(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"id": request.user.pk})


urlpatterns = [
    path("t/write", write),
    path("t/write-unprotected", write_unprotected),
    path("t/swallow", swallow),
    path("t/escape", escape),
    path("t/durable", durable),
    path("t/on-commit", on_commit),
    path("t/session/<what>", session),
    path("t/sign-in", sign_in),
    path("t/cookie", cookie),
    path("t/send", send),
    path("t/task", task),
    path("t/stream", stream),
    path("t/cached", cached),
    path("t/anything", anything),
    path("t/who", who),
    *monolith,
]
