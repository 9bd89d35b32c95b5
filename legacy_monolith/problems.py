"""Errors of the JSON API as RFC 9457 problem documents."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

MEDIA_TYPE = "application/problem+json"


class Conflict(APIException):
    """The request is well formed, but the state of the shop forbids it."""

    status_code = HTTPStatus.CONFLICT
    default_detail = "the current state does not allow this"
    default_code = "conflict"


def problem_response(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Turn a DRF exception into a problem document; leave any other to Django (and to the fence)."""
    response = exception_handler(exc, context)
    if response is None:
        return None
    if isinstance(exc, ValidationError):
        errors = response.data if isinstance(response.data, dict) else {"non_field_errors": response.data}
        body = problem(response.status_code, f"invalid {', '.join(sorted(errors))}; see errors", errors=errors)
    else:
        body = problem(response.status_code, str(response.data.get("detail", "")))
    headers = {name: response[name] for name in ("WWW-Authenticate", "Retry-After") if name in response}
    return Response(body, status=response.status_code, headers=headers, content_type=MEDIA_TYPE)


def problem(status: int, detail: str, **members: Any) -> dict[str, Any]:
    """Build the members that every problem document of the shop has."""
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": int(status), "detail": detail, **members}


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an unknown address: a problem document below /api/, a page elsewhere."""
    if request.path.startswith("/api/"):
        body = problem(404, f"nothing is at {request.path!r}")
        return JsonResponse(body, status=404, content_type=MEDIA_TYPE)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a failure of ours: a problem document below /api/, a page elsewhere."""
    if request.path.startswith("/api/"):
        body = problem(500, "the shop failed to answer; the request changed nothing")
        return JsonResponse(body, status=500, content_type=MEDIA_TYPE)
    return defaults.server_error(request)
