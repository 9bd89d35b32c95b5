"""Moves of live sessions to where SESSIONS says, with what is left of their lives; see Note [where a session is]."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.core import signing
from django.db import router, transaction
from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.errors import Interrupted, MoveInProgress, SettingsError, StoreError
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.sessions.bridge import REDIS, REDIS_ONLY, TABLE, SessionStore, lock
from migration_tools.sessions.redis_side import CHANGED, Arrival, RedisSessions
from migration_tools.stores.postgres import advisory, connect

PASSES = 5
ENDED_MILLISECONDS = 1


@dataclass(kw_only=True)
class Moved:
    """What a move did: sessions moved, those whose signature is another key's and that stayed, and those still away."""

    moved: int = 0
    unreadable: int = 0
    left: int = 0


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many sessions are where; `ended` are rows for clearsessions."""

    table: int
    redis: int
    ended: int


def counts() -> Counts:
    """Count both places, which takes a walk through Redis' keys."""
    rows, now = Session.objects.using(_using()), timezone.now()
    alive = rows.filter(expire_date__gt=now).count()
    return Counts(table=alive, redis=sum(1 for _ in set(RedisSessions().walk())), ended=rows.count() - alive)


def move(stop: threading.Event) -> Moved:
    """Move every session to its home, beside those who use them. It may be cut off anywhere and run again.

    Raises:
        SettingsError: the bridge is not this process's SESSION_ENGINE, or SESSIONS is redis_only, which no longer looks
            at the table.
        MoveInProgress: somebody else moves sessions.
        Interrupted: `stop` was set; what was moved is moved.
        StoreError: Redis failed.
    """
    home = _checked_home()
    done = Moved()
    try:
        with _alone():
            for _ in range(PASSES):
                before = done.moved
                _pass(home, done, stop)
                if done.moved == before:
                    break
        done.left = max(0, away_of(counts(), home) - done.unreadable)
    except RedisSessions().failures as error:
        raise StoreError(
            f"Redis failed after {done.moved} sessions: {error}; nobody is logged out, run the same command again"
        ) from error
    return done


def _pass(home: str, done: Moved, stop: threading.Event) -> None:
    done.unreadable = 0
    for moved, unreadable in _to_redis() if home == REDIS else _to_table():
        done.moved += moved
        done.unreadable += unreadable
        if stop.is_set():
            raise Interrupted(f"interrupted after {done.moved} sessions; run the same command again to go on")


def away_of(found: Counts, home: str) -> int:
    """How many live sessions are not at home."""
    return found.redis if home == TABLE else found.table


def _checked_home() -> str:
    home = settings().SESSIONS
    if SessionStore.__module__ != django_settings.SESSION_ENGINE:
        raise SettingsError(
            f"SESSION_ENGINE is {django_settings.SESSION_ENGINE!r}; set it to {SessionStore.__module__!r} in every "
            "process before sessions are moved (docs/how-to/move-sessions.md)"
        )
    if home == REDIS_ONLY:
        raise SettingsError(
            "MIGRATION_TOOLS['SESSIONS'] is 'redis_only', for when no session is in the table; set it to 'redis' in "
            "every process to move them there, or to 'table' to move them back"
        )
    return home


@contextmanager
def _alone() -> Iterator[None]:
    with connect(_using(), "sessions") as conn:
        if not advisory.try_hold(conn, LockClass.OPERATOR, "sessions"):
            who = advisory.holder(conn, LockClass.OPERATOR, "sessions")
            raise MoveInProgress(f"{who} moves sessions now; nothing was changed")
        yield


def _to_redis() -> Iterator[tuple[int, int]]:
    """One pass through the table, a transaction a batch; rows that somebody holds are left to the next pass."""
    redis, rows, after = RedisSessions(), Session.objects.using(_using()), ""
    while True:
        alive = rows.filter(session_key__gt=after, expire_date__gt=timezone.now()).order_by("session_key")
        keys = list(alive.values_list("session_key", flat=True)[: settings().BATCH_ROWS])
        if not keys:
            return
        marks = dict(zip(keys, redis.marks(keys), strict=True))
        with transaction.atomic(using=_using()):
            held = list(rows.filter(session_key__in=keys).select_for_update(skip_locked=True))
            points.reached("sessions.rows_held")
            going = [each for row in held if (each := _arrival(row, marks[row.session_key])) is not None]
            became = redis.move_in(going)
            points.reached("sessions.keys_added")
            gone = [each.key for each, what in zip(going, became, strict=True) if what != CHANGED]
            rows.filter(session_key__in=gone).delete()
        after = keys[-1]
        yield len(gone), len(held) - len(going)


def _to_table() -> Iterator[tuple[int, int]]:
    """One pass through Redis' keys."""
    redis = RedisSessions()
    for key in redis.walk():
        yield int(_move_to_table(redis, key)), 0


def _move_to_table(redis: RedisSessions, key: str) -> bool:
    """Move one; False when it has ended meanwhile."""
    using = _using()
    while True:
        with transaction.atomic(using=using):
            lock(using, key)
            held = redis.hold(key)
            if held is None:
                return False
            points.reached("sessions.key_held")
            left = django_settings.SESSION_COOKIE_AGE * 1000 if held.milliseconds is None else held.milliseconds
            ends = timezone.now() + timedelta(milliseconds=left)
            Session(session_key=key, session_data=SessionStore().encode(held.data), expire_date=ends).save(using=using)
        points.reached("sessions.row_committed")
        if redis.delete_if(key, held.raw):
            return True


def _arrival(row: Session, mark: bytes) -> Arrival | None:
    """What becomes of a row; None where it was signed with a key that this process does not have."""
    store = SessionStore()
    try:
        data = dict(signing.loads(row.session_data, salt=store.key_salt, serializer=store.serializer))
    except signing.BadSignature:
        return None
    left = math.ceil((row.expire_date - timezone.now()) / timedelta(milliseconds=1))
    return Arrival(key=row.session_key, data=data, milliseconds=max(ENDED_MILLISECONDS, left), mark=mark)


def _using() -> str:
    return router.db_for_write(Session)
