"""Whether a service is alive, and whether it is ready to take requests."""

import logging
from collections.abc import Callable
from http import HTTPStatus

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from migration_tools.errors import StoreError
from migration_tools.service.problems import problem

log = logging.getLogger(__name__)


def livez(request: HttpRequest) -> HttpResponse:
    """Answer as long as the process can."""
    return JsonResponse({"status": "alive"})


def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 when the database can be reached, else a 503 problem."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "the database cannot be reached; check the service's *_DB_*")
    return JsonResponse({"status": "ready"})


def ready_with(further: Callable[[], None]) -> Callable[[HttpRequest], HttpResponse]:
    """The view `readyz` of a service that needs more than its database: `further` raises StoreError where that is away.

    The answer does not tell a visitor why; the log does.
    """

    def ready(request: HttpRequest) -> HttpResponse:
        answer = readyz(request)
        if answer.status_code == HTTPStatus.OK:
            try:
                further()
            except StoreError as error:
                log.warning("not ready: %s", error)
                return problem(HTTPStatus.SERVICE_UNAVAILABLE, "the store cannot be used; see the log, and *_STORE_*")
        return answer

    return ready
