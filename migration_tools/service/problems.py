"""Errors of a service's API as RFC 9457 problem documents."""

import logging
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, JsonResponse
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from migration_tools.errors import StoreAway

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


class Conflict(APIException):
    """The request is well formed, but the state of what it is about forbids it."""

    status_code = HTTPStatus.CONFLICT
    default_detail = "the present state forbids this"
    default_code = "conflict"


class Unavailable(APIException):
    """The request is good, but not now; the client may repeat it in a moment."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_detail = "try again in a moment"
    default_code = "unavailable"
    wait = 1


class ProblemSerializer(serializers.Serializer[Any]):
    """The shape of every error."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    errors = serializers.DictField(required=False)  # type: ignore[assignment]


def answer(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Turn what a view raised into a problem document; None (let it fail) for what is not the API's own.

    Database errors are not ours to answer: `FenceMiddleware` must see them. A store that is away is a 503.
    """
    if isinstance(exc, StoreAway):
        log.warning("a request is refused: %s", exc)
        exc = Unavailable("the store of this service does not answer; try again in a moment")
    response = exception_handler(exc, context)
    if response is None:
        return None
    errors: Any = None
    if isinstance(exc, ValidationError):
        errors = response.data if isinstance(response.data, dict) else {"non_field_errors": response.data}
        detail = f"invalid {', '.join(sorted(errors))}; see errors"
    else:
        detail = str(response.data["detail"])
    response.data = document(HTTPStatus(response.status_code), detail)
    if errors is not None:
        response.data["errors"] = errors
    response.content_type = MEDIA_TYPE
    return response


def document(status: HTTPStatus, detail: str) -> dict[str, Any]:
    """Give the problem document of a status that needs no further type."""
    return {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}


def problem(status: HTTPStatus, detail: str) -> JsonResponse:
    """Give a problem as a plain Django response, for what is answered outside DRF."""
    return JsonResponse(document(status, detail), status=status, content_type=MEDIA_TYPE)


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer an address that no view has."""
    return problem(HTTPStatus.NOT_FOUND, f"nothing is at {request.path!r}")


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer a request that Django itself refused to read."""
    return problem(HTTPStatus.BAD_REQUEST, "the request could not be read")


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer an error of the service's own; what it was is in the log only."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; the log says why")


def described(*statuses: HTTPStatus) -> dict[tuple[int, str], OpenApiResponse]:
    """Declare problem responses for the OpenAPI document."""
    return {
        (status.value, MEDIA_TYPE): OpenApiResponse(ProblemSerializer, description=status.phrase) for status in statuses
    }
