"""Answers of the process itself: is it alive, is its database reachable, which CSRF token to use."""

from __future__ import annotations

from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_safe


@require_safe
@transaction.non_atomic_requests
def livez(request: HttpRequest) -> HttpResponse:
    """Answer without the database, so that its outage does not restart the web processes."""
    return JsonResponse({"status": "alive"})


@require_safe
@transaction.non_atomic_requests
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 when the database answers, else 503."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "database unreachable"}, status=503)
    return JsonResponse({"status": "ready"})


@require_GET
@transaction.non_atomic_requests
@ensure_csrf_cookie
def csrf(request: HttpRequest) -> HttpResponse:
    """Set the csrftoken cookie that unsafe methods must repeat in X-CSRFToken."""
    return HttpResponse(status=204)
