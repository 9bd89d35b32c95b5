"""The middleware of both sides by which a write that meets the fence becomes a retryable 503."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from django.db import OperationalError, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.utils.deprecation import MiddlewareMixin

from migration_tools.kernel.ownership import FENCED_SQLSTATE

FENCED_HEADER = "x-strangler-fenced"
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
        return not_now(request) if is_fenced(exception) else None


class FenceMet(BaseException):
    """A refused write, on its way past `except Exception`."""


class StrictFenceMiddleware(FenceMiddleware):
    """`FenceMiddleware` for views that catch every exception and answer with a page of their own.

    Such a view would tell a customer of an error where the proxy could have asked the new owner. Here the refusal is no
    `Exception`, so nothing between the query and this middleware can keep it; each transaction on its way is rolled
    back. Code that means to catch the refusal itself must not stand below it. Synchronous views only.
    """

    async_capable = False

    def __call__(self, request: HttpRequest) -> Any:
        with ExitStack() as stack:
            for connection in connections.all():
                stack.enter_context(connection.execute_wrapper(_pierce))
            try:
                return super().__call__(request)
            except FenceMet:
                return not_now(request)


def _pierce(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    try:
        return execute(sql, params, many, context)
    except OperationalError as error:
        if is_fenced(error):
            raise FenceMet from error
        raise


def not_now(request: HttpRequest) -> HttpResponse:
    """A 503 that the proxy keeps to itself and tries again, until a side takes the request."""
    # A server that closes a connection with an unread body resets it, and the proxy could not retry.
    _drain(request)
    response = JsonResponse(
        {
            "type": "about:blank",
            "title": "Refused for a moment",
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
