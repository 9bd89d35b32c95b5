"""Send reads to streaming replicas where a view asks for it, and only to one that has replayed the reader's writes.

Note [replayed positions]. A commit has a place in the primary's log. Who wrote carries the log's end after the commit
(a cookie, or the running request); a replica that says it has replayed up to there shows the write. Asking the
replica is the same connection that the read will use, so nothing can be replayed back in between.
"""

import functools
import logging
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, LiteralString

from django.conf import settings as django_settings
from django.db import DatabaseError, connections
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from migration_tools.conf import settings

log = logging.getLogger(__name__)

COOKIE = "sx_replayed"
COOKIE_SECONDS = 3600
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}\Z")

_END: LiteralString = "SELECT pg_current_wal_insert_lsn()::text"
# Caught up with all that was received counts as no delay: an idle primary sends nothing to replay.
_REPLAYED: LiteralString = """
    SELECT pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn() >= %(wanted)s::pg_lsn, false),
        CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
             ELSE coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 1e9) END::float8"""


@dataclass
class _Reading:
    """One block that reads from replicas: the position it must see, and the replica that it got."""

    wanted: str
    alias: str | None = None
    settled: bool = False


_reading: ContextVar[_Reading | None] = ContextVar("strangle_replica_reading", default=None)
_written: ContextVar[str] = ContextVar("strangle_replica_written", default="0/0")


@contextmanager
def from_replicas(*, wanted: str | None = None) -> Iterator[None]:
    """Let reads of the block go to a replica that has replayed `wanted`, by default the request's own last write.

    The replica is chosen at the first read and kept, so that the block sees one state's order; a write sends all that
    follows to the primary.
    """
    token = _reading.set(_Reading(wanted=wanted or _written.get()))
    try:
        yield
    finally:
        _reading.reset(token)


def replica_reads(view: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a view whose reads may come from replicas: reports, searches, lists."""

    @functools.wraps(view)
    def reading(*args: Any, **kwargs: Any) -> Any:
        with from_replicas():
            return view(*args, **kwargs)

    return reading


class ReplicaRouter:
    """In DATABASE_ROUTERS: reads inside `from_replicas()` go to READ_REPLICAS by weight, all else where it belongs."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        """A replica that is far enough, or nothing: then the next router, at last the primary, answers."""
        reading = _reading.get()
        if reading is None or connections[settings().DATABASE].in_atomic_block:
            return None
        if not reading.settled:
            reading.settled = True
            reading.alias = choose(reading.wanted)
        return reading.alias

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        """The primary, and from then on for the block's reads too."""
        reading = _reading.get()
        if reading is not None:
            reading.settled, reading.alias = True, None
        return None

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool | None:
        """A row of a replica is a row of its primary."""
        aliases = {settings().DATABASE, *settings().READ_REPLICAS}
        return True if {one._state.db, other._state.db} <= aliases else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Replicas are written by their primary."""
        return False if db in settings().READ_REPLICAS else None


def choose(wanted: str) -> str | None:
    """A replica that has replayed `wanted` and is at most READ_REPLICA_LAG_SECONDS behind; None: the primary."""
    weights = dict(settings().READ_REPLICAS)
    while weights:
        [alias] = random.choices(list(weights), weights=list(weights.values()))  # noqa: S311  (no secret)
        del weights[alias]
        if _far_enough(alias, wanted):
            return alias
        weights = {name: weight for name, weight in weights.items() if weight > 0}
    return None


def written() -> str:
    """The primary's position after what was committed; what the next reads of the same reader must see."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_END)
        position = str(cursor.fetchone()[0])
    _written.set(position)
    return position


class ReplicaMiddleware(MiddlewareMixin):
    """After an unsafe request the reader's cookie says how far a replica must be; while it is there, it is heeded."""

    def process_request(self, request: HttpRequest) -> None:
        """Know the reader's position while the view runs."""
        _written.set(_position(request))

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Note the position of a write."""
        if request.method not in SAFE and response.status_code < 500:
            response.set_cookie(
                COOKIE, written(), max_age=COOKIE_SECONDS, httponly=True, samesite="Lax",
                secure=bool(django_settings.SESSION_COOKIE_SECURE),
            )  # fmt: skip
        return response


def _position(request: HttpRequest) -> str:
    shown = request.COOKIES.get(COOKIE, "")
    return shown if _LSN.match(shown) else "0/0"


def _far_enough(alias: str, wanted: str) -> bool:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(_REPLAYED, {"wanted": wanted})
            in_recovery, replayed, behind = cursor.fetchone()
    except DatabaseError as error:
        connections[alias].close()
        log.warning("replica %s is passed over: %s", alias, type(error).__name__)
        return False
    return bool(in_recovery and replayed and behind <= settings().READ_REPLICA_LAG_SECONDS)
