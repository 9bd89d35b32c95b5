"""Whether a service is alive, and whether it is ready to take requests."""

from http import HTTPStatus

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from migration_tools.service.problems import problem


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
