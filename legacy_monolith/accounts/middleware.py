"""Requests that need a customer while nobody can tell who it is."""

from __future__ import annotations

from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.deprecation import MiddlewareMixin

from legacy_monolith.accounts.directory import NotNow
from legacy_monolith.problems import MEDIA_TYPE, problem


class NotNowMiddleware(MiddlewareMixin):
    """Answers 503, and nobody is logged out. It stands behind AuthenticationMiddleware.

    Who has a session is looked up before anybody asks: what fails within another middleware is a 500 to all others.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return None
        try:
            bool(request.user.is_authenticated)
        except NotNow as error:
            return self.process_exception(request, error)
        return None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, NotNow):
            return None
        body = problem(HTTPStatus.SERVICE_UNAVAILABLE, str(exception.detail))
        return JsonResponse(
            body,
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            headers={"Retry-After": str(NotNow.wait), "Cache-Control": "no-store"},
            content_type=MEDIA_TYPE,
        )
