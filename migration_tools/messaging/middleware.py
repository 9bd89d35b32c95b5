"""Begin a chain for each request, sync or async: correlation, trace and, once somebody writes, the user."""

import re
from collections.abc import Awaitable
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from migration_tools.kernel.ids import uuid7
from migration_tools.messaging.context import Causality, caused_by

CORRELATION_HEADER = "X-Correlation-ID"
# What strangers send is kept only if it looks like an id; anything else could be made to look like a log line.
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}\Z")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")


class CausalityMiddleware(MiddlewareMixin):
    """Takes over X-Correlation-ID and traceparent, or draws an id; the answer says which one it was."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Run the view as part of the chain."""
        if self.async_mode:
            return self._answer_async(request)
        chain = chain_of(request)
        with caused_by(chain):
            response: Any = self.get_response(request)
        return _marked(response, chain)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        chain = chain_of(request)
        with caused_by(chain):
            answer: Any = self.get_response(request)
            response = await answer
        return _marked(response, chain)


def chain_of(request: HttpRequest) -> Causality:
    """The chain that a request belongs to or begins."""
    correlation = request.headers.get(CORRELATION_HEADER, "")
    trace = request.headers.get("traceparent", "")
    return Causality(
        correlation_id=correlation if _ID.match(correlation) else str(uuid7()),
        metadata={"traceparent": trace} if _TRACEPARENT.match(trace) else {},
        user=lambda: _user_of(request),
    )


def _user_of(request: HttpRequest) -> str | None:
    """The key of the user, if somebody has asked who it is: to ask now could mean a query inside a write."""
    user: Any = getattr(request, "_cached_user", None)
    if user is None:
        user = request.__dict__.get("user")
        if getattr(user, "_setupfunc", None) is not None and "_wrapped" in vars(user) and not _evaluated(user):
            return None
    key = getattr(user, "pk", None)
    return None if key is None else str(key)


def _evaluated(lazy: Any) -> bool:
    from django.utils.functional import empty

    return lazy._wrapped is not empty


def _marked(response: HttpResponseBase, chain: Causality) -> HttpResponseBase:
    response.headers.setdefault(CORRELATION_HEADER, chain.correlation_id)
    return response
