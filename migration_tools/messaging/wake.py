"""The wake flag: who writes wakes a relay that sleeps; while it is awake, no writer pays for a notification.

Note [the wake flag]. NOTIFY serialises commits, so not every commit may send one. A relay that finds nothing for a
while takes the lock SLEEP exclusively, looks once more, and listens. A trigger of the outbox tries the same lock,
shared, until the writer's transaction ends. Not had: the relay sleeps, and this commit notifies it. Had: the relay is
awake, and cannot fall asleep before this transaction ends; so what it writes is seen by the look behind the lock. No
write falls between the two, nobody ever waits, and no row is updated. Latency alone depends on it: a sleeping relay
looks four times a second all the same. A transaction that has notified cannot be prepared, so where prepared
transactions are allowed a relay does not sleep unless RELAY_SLEEPS says so, and no writer notifies.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, connections, transaction

from migration_tools.conf import settings
from migration_tools.kernel.locks import LockClass

if TYPE_CHECKING:
    from migration_tools.stores.postgres import Connection

log = logging.getLogger(__name__)

WAKE_CHANNEL = "strangle_wake"
# After the last news a relay polls this long, so that a busy system never sends a notification.
AWAKE_SECONDS = 0.2
# While it sleeps a relay looks this often unasked; its session's lease is renewed by it too.
LOOK_SECONDS = 0.25
# Somebody writes without waking (the log is the source, the trigger is off): poll as long as this.
SLEEPLESS_SECONDS = 30.0
# Where a relay may not sleep (a writer is still under way, say) it polls, after AWAKE_SECONDS rarer by this factor.
DROWSY_FACTOR = 5

_BODY = f"""
BEGIN
  PERFORM pg_catalog.pg_notify('{WAKE_CHANNEL}', NEW.stream);
  RETURN NULL;
END """
FUNCTION = f"CREATE OR REPLACE FUNCTION strangle_wake() RETURNS trigger LANGUAGE plpgsql AS $body${_BODY}$body$"
# The lock is tried by the trigger's condition: while the relay is awake no function is called.
TRIGGER = f"""CREATE OR REPLACE TRIGGER wake_relay AFTER INSERT ON strangle_outbox
              FOR EACH ROW WHEN (NOT pg_try_advisory_xact_lock_shared({int(LockClass.SLEEP)}, hashtext(NEW.stream)))
              EXECUTE FUNCTION strangle_wake()"""
_ALWAYS = "ALTER TABLE strangle_outbox ENABLE ALWAYS TRIGGER wake_relay"
_INSTALLED = """EXISTS (SELECT FROM pg_trigger WHERE tgname = 'wake_relay' AND tgenabled IN ('O', 'A')
                  AND tgrelid = to_regclass('strangle_outbox'))"""
# A table that became a partition brought its own trigger along, where the parent's would be cloned to.
_STRAYS = """SELECT i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_trigger t ON t.tgrelid = i.inhrelid
             WHERE i.inhparent = to_regclass('strangle_outbox') AND t.tgname = 'wake_relay' AND t.tgparentid = 0"""
_STATE = f"""SELECT to_regclass('strangle_outbox') IS NOT NULL, {_INSTALLED},
                    (SELECT prosrc FROM pg_proc WHERE oid = to_regprocedure('strangle_wake()'))"""  # noqa: S608  (constants of this file)


def install_wake(sender: Any, using: str = "default", **options: Any) -> None:
    """After migrate: give the outbox its wake trigger where it has none; writers wait only then, for a moment."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(_STATE)
        there, installed, body = cursor.fetchone()
    if not there or (installed and body == _BODY):
        return
    try:
        with transaction.atomic(using=using), connection.cursor() as cursor:
            wait = f"{int(settings().DDL_LOCK_TIMEOUT_SECONDS * 1000)}ms"
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [wait])
            cursor.execute(_STRAYS)
            for (partition,) in cursor.fetchall():
                cursor.execute(f"DROP TRIGGER wake_relay ON {partition}")
            cursor.execute(FUNCTION)
            cursor.execute(TRIGGER)
            cursor.execute(_ALWAYS)
    except OperationalError as error:
        # Nothing depends on it but latency, and a schema migration must not fail, or stop a shop, for that.
        log.warning(
            "writers cannot wake relays of database %r yet (%s); run migrate again", using, type(error).__name__
        )


def may_sleep(conn: "Connection") -> bool:
    """Whether writers of this database would wake a relay, and could do so without harm."""
    wish = settings().RELAY_SLEEPS
    if wish == "never":
        return False
    row = conn.execute(f"SELECT ({_INSTALLED}), current_setting('max_prepared_transactions')::int = 0").fetchone()
    return bool(row and row[0] and (row[1] or wish == "always"))


class Sleep:
    """A leading relay's pauses: short ones while there is news, real sleep when there is none.

    Call `news` after each tick with records and `pause` after each one without.
    """

    def __init__(self, conn: "Connection", stream: str, *, clock: Callable[[], float] = time.monotonic):
        self._conn = conn
        self._stream = stream
        self._clock = clock
        self._allowed = may_sleep(conn)
        self._last_news = clock()
        self._sleepless_until = 0.0
        self._looks = 0
        self.asleep = False
        if self._allowed:
            conn.execute(f"LISTEN {WAKE_CHANNEL}")

    def news(self) -> None:
        """A tick had records: stay awake for a while."""
        now = self._clock()
        if self.asleep:
            # The first look behind the lock finds what was committed before it; nobody had to announce that.
            if self._looks and not self._called(0.0):
                self._sleepless_until = now + SLEEPLESS_SECONDS
            self._rise()
        self._last_news = now

    def pause(self, stop: threading.Event) -> None:
        """Wait until a look is worth its cost, at most LOOK_SECONDS."""
        if self.asleep:
            self._looks += 1
            if self._called(LOOK_SECONDS):
                self._rise()
            return
        idle = settings().RELAY_IDLE_SECONDS
        now = self._clock()
        if now - self._last_news < AWAKE_SECONDS:
            stop.wait(idle)
        elif now < self._sleepless_until or not self._allowed or not self._lie_down():
            stop.wait(idle * DROWSY_FACTOR)

    def _lie_down(self) -> bool:
        """Take the lock, unless a writer is under way who believes that we are awake."""
        row = self._conn.execute(
            "SELECT pg_try_advisory_lock(%s, hashtext(%s))", [int(LockClass.SLEEP), self._stream]
        ).fetchone()
        self.asleep = bool(row and row[0])
        self._looks = 0
        return self.asleep

    def _rise(self) -> None:
        self._conn.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", [int(LockClass.SLEEP), self._stream])
        self.asleep = False

    def _called(self, seconds: float) -> bool:
        """Whether a writer of this stream notifies within so long."""
        return any(notice.payload == self._stream for notice in self._conn.notifies(timeout=seconds, stop_after=1))
