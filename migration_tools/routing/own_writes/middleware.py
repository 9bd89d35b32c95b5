"""The middleware of the owner that gives out tokens of writes, and takes them back when the other side is there."""

import logging

from django.conf import settings as django_settings
from django.db import DatabaseError, connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from migration_tools.conf import settings
from migration_tools.messaging.stream import Cursor
from migration_tools.routing.middleware import FENCED_HEADER, not_now
from migration_tools.routing.own_writes import applied
from migration_tools.routing.own_writes.token import WriteToken, decode, new_name, own, presented

log = logging.getLogger(__name__)

# The proxy alone sets these; what clients send of them never gets through.
WRITES_HEADER = "x-strangler-writes"
PINNED_HEADER = "x-strangler-pinned"
# A reader whose write is not applied after a day reads it late: by then the ramp has long gone back.
LIFE_SECONDS = 86_400


class OwnWritesMiddleware(MiddlewareMixin):
    """Whoever writes through the proxy reads from the owner until the other side has applied it; see Note [tokens of
    writes]. On both sides, after ShadowMiddleware. Requests without a token cost no query.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Judge the tokens of a read that the proxy sent to the owner; a side that is not the owner sends it on."""
        context = request.headers.get(PINNED_HEADER)
        tokens = presented(context, request.COOKIES) if context else {}
        if not context or not tokens:
            return None
        try:
            with connections[settings().DATABASE].cursor() as cursor:
                found = applied.known(cursor, context)
                if not found.owned:
                    # The proxy has not heard yet that the context was handed over, and tries until it has.
                    return not_now(request)
                _judge(request, cursor, context, found, tokens)
        except DatabaseError as error:
            log.warning("tokens of writes are kept: %s", type(error).__name__, extra={"context": context})
        return None

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Set and take away what was decided; after a write, the token of it."""
        context = request.headers.get(WRITES_HEADER)
        if context and FENCED_HEADER not in response:
            _note_write(request, context)
        for name, value in getattr(request, "_strangler_tokens", {}).items():
            if value is None:
                response.delete_cookie(name, samesite="Lax")
            else:
                response.set_cookie(
                    name,
                    value,
                    max_age=LIFE_SECONDS,
                    secure=bool(django_settings.SESSION_COOKIE_SECURE),
                    httponly=True,
                    samesite="Lax",
                )
        return response


def _judge(request: HttpRequest, cursor: Cursor, context: str, found: applied.Known, tokens: dict[str, str]) -> None:
    changes: dict[str, str | None] = {}
    for name, value in tokens.items():
        token = decode(value)
        # Before a context is handed over, the new owner has applied all that the old one had committed. And without
        # capture there is nothing to wait for.
        if token is None or token.side != settings().SIDE or not found.captured:
            changes[name] = None
        elif token.snapshot is None:
            changes[name] = None
            changes[new_name(context)] = _now(cursor)
        elif applied.is_applied(cursor, found, token.snapshot):
            changes[name] = None
    request._strangler_tokens = changes  # type: ignore[attr-defined]


def _note_write(request: HttpRequest, context: str) -> None:
    changes: dict[str, str | None] = dict.fromkeys(presented(context, request.COOKIES))
    try:
        with connections[settings().DATABASE].cursor() as cursor:
            found = applied.known(cursor, context)
            # Without capture nothing is carried over, so there is no other side to be asked.
            if found.captured:
                changes[new_name(context)] = _now(cursor)
    except DatabaseError:
        # It is done and may be told; what is not known is how far, so the first read finds it out.
        changes[new_name(context)] = WriteToken(side=settings().SIDE, snapshot=None).encode()
    request._strangler_tokens = changes  # type: ignore[attr-defined]


def _now(cursor: Cursor) -> str:
    snapshot, xid = applied.committed(cursor)
    return WriteToken(side=settings().SIDE, snapshot=own(snapshot, xid)).encode()
