"""Two middlewares: refused writes become a retryable 503, and logged-in users carry a signed identity."""

from django.conf import settings as django_settings
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.http.request import UnreadablePostError
from django.utils.deprecation import MiddlewareMixin

from migration_tools.routing.identity import (
    COOKIE,
    LIFE_SECONDS,
    REFRESH_SECONDS,
    StranglerUser,
    sign_identity,
    verify_identity,
)

FENCED_HEADER = "x-strangler-fenced"
FENCED_SQLSTATE = "40S01"
_CHUNK_BYTES = 65_536


def is_fenced(error: BaseException | None) -> bool:
    """Whether a database refused a write because its side does not own the context.

    Follows explicit causes, so errors that an application raised `from` the refusal count as well, and so
    does the error Django raises for a query in the transaction that the refusal broke.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        cause = error.__cause__
        if isinstance(error, OperationalError) and _sqlstate(cause) == FENCED_SQLSTATE:
            return True
        error = cause
    return False


class FenceMiddleware(MiddlewareMixin):
    """Answer `503` with the fence's marker when a view's write met the fence; the proxy then tries again.

    The transaction of the view is already rolled back at this point (ATOMIC_REQUESTS or `atomic()`).
    A view that commits something *before* the refused write would have it repeated: keep a context's
    writes in one transaction.
    """

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not is_fenced(exception):
            return None
        # A server that closes a connection with an unread body resets it, and the proxy could not retry.
        _drain(request)
        response = JsonResponse(
            {
                "type": "about:blank",
                "title": "Write refused for a moment",
                "status": 503,
                "detail": "this data is being moved to another service; send the request again",
            },
            status=503,
            content_type="application/problem+json",
        )
        response[FENCED_HEADER] = "1"
        response["Retry-After"] = "1"
        response["Cache-Control"] = "no-store"
        return response


class IdentityCookieMiddleware(MiddlewareMixin):
    """Keep the signed identity cookie in step with who is logged in; goes after AuthenticationMiddleware."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if _is_unknown_visitor(request):
            return response
        user = _current_user(request)
        held = request.COOKIES.get(COOKIE)
        if user is None:
            if held:
                response.delete_cookie(
                    COOKIE,
                    domain=django_settings.SESSION_COOKIE_DOMAIN,
                    samesite="Lax",
                )
        elif not held or verify_identity(held, max_age_seconds=REFRESH_SECONDS) != user:
            response.set_cookie(
                COOKIE,
                sign_identity(user),
                max_age=LIFE_SECONDS,
                domain=django_settings.SESSION_COOKIE_DOMAIN,
                secure=django_settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        return response


def _sqlstate(error: BaseException | None) -> str | None:
    """The SQLSTATE of a driver's error: psycopg names it `sqlstate`, psycopg2 `pgcode`."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None


def _drain(request: HttpRequest) -> None:
    try:
        while request.read(_CHUNK_BYTES):
            pass
    except (UnreadablePostError, OSError, ValueError):
        return  # the client went away, or a parser closed the stream: nothing is left to read


def _is_unknown_visitor(request: HttpRequest) -> bool:
    """No cookie of ours and no session: asking for `request.user` would only make pages vary by cookie."""
    if COOKIE in request.COOKIES or django_settings.SESSION_COOKIE_NAME in request.COOKIES:
        return False
    session = getattr(request, "session", None)
    return session is not None and not session.accessed


def _current_user(request: HttpRequest) -> StranglerUser | None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return StranglerUser(
        pk=user.pk,
        name=user.get_full_name() if hasattr(user, "get_full_name") else user.get_username(),
        is_staff=bool(getattr(user, "is_staff", False)),
    )
