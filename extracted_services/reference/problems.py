"""Errors of the API as RFC 9457 problem documents."""

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, JsonResponse
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import exception_handler

from migration_tools.composition.problems import MEDIA_TYPE, document


class ProblemSerializer(serializers.Serializer[Any]):
    """The shape of every error."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()


def answer(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Turn what a view raised into a problem document; None (let it fail) for what is not the API's own."""
    response = exception_handler(exc, context)
    if response is not None:
        detail = response.data.get("detail", exc) if isinstance(response.data, dict) else exc
        response.data = document(HTTPStatus(response.status_code), str(detail))
        response.content_type = MEDIA_TYPE
    return response


def problem(status: HTTPStatus, detail: str) -> JsonResponse:
    """Give a problem as a plain Django response, for what is answered outside DRF."""
    return JsonResponse(document(status, detail), status=status, content_type=MEDIA_TYPE)


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer an address that no view has."""
    return problem(HTTPStatus.NOT_FOUND, f"nothing is at {request.path!r}")


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer an error of ours; what it was is in the log only."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; the log says why")


def described(*statuses: HTTPStatus) -> dict[tuple[int, str], OpenApiResponse]:
    """Declare problem responses for the OpenAPI document."""
    return {
        (status.value, MEDIA_TYPE): OpenApiResponse(ProblemSerializer, description=status.phrase) for status in statuses
    }
