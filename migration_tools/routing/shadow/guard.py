"""The middleware under which a request changes nothing: what a shadow read is answered by, on either side."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from django.core.exceptions import MiddlewareNotUsed
from django.db import Error, connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from migration_tools.routing.shadow.attempts import Attempts, watching
from migration_tools.routing.shadow.effects import quench

SHADOW_HEADER = "x-strangler-shadow"
PROBE = "probe"
WROTE_HEADER = "x-strangler-wrote"
SAFE = ("GET", "HEAD", "OPTIONS")
READ_ONLY_SQLSTATE = "25006"

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# Note [a shadow read cannot write]: each database of the request is held in one transaction that is READ ONLY
# before its first statement, which PostgreSQL lets nobody take back within it, and that is rolled back at the end.
# So nothing is stored, no trigger puts an event into the outbox, no on_commit callback runs, and no setting is left
# behind on a connection that the next request gets, also behind a pooler. What does not live in a database is kept
# back by name: the session's store, mail and tasks. The proxy sends safe methods only; others are refused here too.


class ShadowMiddleware:
    """Answer requests that carry `x-strangler-shadow` without leaving a trace; others pass as if it were not there.

    It goes first in MIDDLEWARE. The answer carries `x-strangler-shadow: kept`, by which the comparator knows that
    this side is guarded, and `x-strangler-wrote` naming what the view tried to write.
    """

    def __init__(self, get_response: GetResponse) -> None:
        if get_response is None:
            raise MiddlewareNotUsed
        self._get_response = get_response
        quench()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        asked = request.headers.get(SHADOW_HEADER)
        if not asked:
            return self._get_response(request)
        attempts = Attempts()
        if asked == PROBE:
            return _marked(HttpResponse(status=204), attempts)
        if request.method not in SAFE:
            attempts.add(f"method {request.method}")
            return _marked(HttpResponse("a shadow request may only read\n", status=405), attempts)
        _forget_what_it_learns(request)
        with watching(attempts), ExitStack() as stack:
            for connection in connections.all():
                stack.enter_context(_read_only(connection, attempts))
            response = self._get_response(request)
        return _marked(response, attempts)


def _marked(response: HttpResponseBase, attempts: Attempts) -> HttpResponseBase:
    response.cookies.clear()
    del response["Set-Cookie"]
    if response.streaming:
        # Its rows would be read when the guard is gone; the comparator does not compare streams anyway.
        response.close()
        response = HttpResponse("a stream is not shadowed\n", status=501)
        attempts.add("stream")
    response[SHADOW_HEADER] = "kept"
    response["Cache-Control"] = "no-store"
    if attempts.names:
        response[WROTE_HEADER] = ", ".join(attempts.names)
    return response


@contextmanager
def _read_only(connection: Any, attempts: Attempts) -> Iterator[None]:
    """Hold a database in a transaction that cannot write; one that cannot be had may not be asked at all."""

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        try:
            return execute(sql, params, many, context)
        except Error as error:
            if _sqlstate(error.__cause__) == READ_ONLY_SQLSTATE:
                attempts.add(f"database {connection.alias}")
            raise

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        raise connection.Database.OperationalError(f"the database {connection.alias!r} cannot be had for a shadow read")

    block = transaction.atomic(using=connection.alias)
    try:
        block.__enter__()
    except Error:
        with connection.execute_wrapper(refuse):
            yield
        return
    try:
        # A view that asks for the outermost transaction must get its answer all the same.
        connection.atomic_blocks[-1]._from_testcase = True
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
        with connection.execute_wrapper(watch):
            yield
    finally:
        _roll_back(connection, block)


def _roll_back(connection: Any, block: AbstractContextManager[None]) -> None:
    try:
        if connection.in_atomic_block:
            connection.set_rollback(True)
        block.__exit__(None, None, None)
    except Error:
        # A connection of which it is not known what it is in serves nobody any more.
        connection.close()


def _forget_what_it_learns(request: HttpRequest) -> None:
    """Give the request a session that is never stored, and keep its answer out of the page cache."""
    request.__class__ = _forgetful(type(request))


def _forgetful(kind: type[HttpRequest]) -> type[HttpRequest]:
    def get_session(self: Any) -> Any:
        try:
            return self.__dict__["session"]
        except KeyError:
            raise AttributeError("session") from None

    def set_session(self: Any, store: Any) -> None:
        store.__class__ = unsaved(type(store))
        self.__dict__["session"] = store

    # FetchFromCacheMiddleware sets it on each request, UpdateCacheMiddleware asks for it.
    never = property(lambda self: False, lambda self, value: None)
    names = {"session": property(get_session, set_session), "_cache_update_cache": never}
    return _disguised(kind, names)


def unsaved(kind: type[Any]) -> type[Any]:
    """A session store that reads as ever, and whose changes last as long as the request."""

    def keep(self: Any, *args: Any, **kwargs: Any) -> None:
        return None

    async def akeep(self: Any, *args: Any, **kwargs: Any) -> None:
        return None

    def flush(self: Any) -> None:
        self.clear()

    async def aflush(self: Any) -> None:
        self.clear()

    names: dict[str, Any] = dict.fromkeys(("save", "create", "delete", "cycle_key"), keep)
    names |= dict.fromkeys(("asave", "acreate", "adelete", "acycle_key"), akeep)
    names |= {"flush": flush, "aflush": aflush}
    return _disguised(kind, names)


def _disguised(kind: type[Any], names: dict[str, Any]) -> type[Any]:
    """A subclass under the same name: stores take the name of their class into the key they sign with."""
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__, **names})


def _sqlstate(error: BaseException | None) -> str | None:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None
