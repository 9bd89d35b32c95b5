"""The relay: the one process that numbers a stream's outbox, publishes it and keeps it from growing."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.horizon import HorizonWatch
from migration_tools.messaging.publication import Publication, Publisher
from migration_tools.messaging.retention import Retention
from migration_tools.messaging.stream import identify
from migration_tools.messaging.ticks import Projector, TickResult, append_tick, has_news
from migration_tools.messaging.wake import Sleep
from migration_tools.stores.postgres import (
    Connection,
    advisory,
    connect,
    describe_failure,
    errors,
    is_lost,
    is_transient,
    transaction,
)

log = logging.getLogger(__name__)

STANDBY_SECONDS = 0.2
RECONNECT_SECONDS = 0.5
PATIENCE_FACTOR = 4.0
# However quiet the outbox is, a tick is tried this often: it also asks whether the log is the source now.
UNASKED_SECONDS = 0.2
NOTHING = TickResult(number=0, head=0, records=0)


def tick(conn: Connection, stream: str, projector: Projector) -> TickResult:
    """Append one tick in a transaction of its own; the TICK lock is taken before its snapshot is."""
    with advisory.held(conn, LockClass.TICK, stream), transaction(conn, repeatable=True):
        return append_tick(conn, stream, projector)


def hold_lease(conn: Connection, *, in_tick_seconds: float | None = None) -> None:
    """Let the server end this session, and with it its locks, when nothing is heard from it for so long.

    Note [the lease of a relay]. A killed process closes its connection, which frees its locks at once. One that is
    stopped, or whose host or network is gone, closes nothing, and TCP may keep its peer waiting for hours. So the
    leader asks the server to end a session that is silent, and is never silent itself for long: it looks each
    LOOK_SECONDS. A leader that was only slow connects again and stands by; what it was about to commit, its session no
    longer can. A tick may be so large that reading it takes longer than the lease: a relay that lost one gives the next
    one more.
    """
    lease = settings().RELAY_LEASE_SECONDS
    for name, seconds in (
        ("idle_session_timeout", lease),
        ("idle_in_transaction_session_timeout", in_tick_seconds or lease),
    ):
        conn.execute("SELECT set_config(%s, %s, false)", [name, f"{int(seconds * 1000)}ms"])


class Relay:
    """Numbers one stream until told to stop; survives a database that is lost or full; a second relay stands by."""

    def __init__(
        self,
        stream: str,
        projector: Projector,
        *,
        alias: str | None = None,
        publisher: Publisher | None = None,
    ):
        self.stream = stream
        self.alias = alias or settings().DATABASE
        self.projector = projector
        self._publication = Publication(stream, publisher, alias=self.alias) if publisher is not None else None
        self._retention = Retention(stream, alias=self.alias)
        self.failed = False
        self._ticked = float("-inf")
        self._busy = False
        self._in_tick_seconds = settings().RELAY_LEASE_SECONDS

    def run(self, stop: threading.Event, on_tick: Callable[[TickResult], None] | None = None) -> None:
        """Work until `stop` is set."""
        while not stop.is_set():
            try:
                with connect(self.alias, f"relay {self.stream}") as conn:
                    self._lead(conn, stop, on_tick)
            except Exception as error:
                if not (is_lost(error) or is_transient(error) or isinstance(error, StrangleError)):
                    raise
                log.warning(
                    "relay %s: %s; trying again",
                    self.stream,
                    describe_failure(error),
                    extra={"context": self.stream},
                )
                stop.wait(RECONNECT_SECONDS)

    def _lead(self, conn: Connection, stop: threading.Event, on_tick: Callable[[TickResult], None] | None) -> None:
        while not advisory.try_hold(conn, LockClass.RELAY, self.stream):
            if stop.wait(STANDBY_SECONDS):
                return
        hold_lease(conn, in_tick_seconds=self._in_tick_seconds)
        with advisory.held(conn, LockClass.TICK, self.stream):
            identify(conn.cursor(), self.stream)
        log.info("relay %s leads", self.stream, extra={"context": self.stream})
        publishing = self._publication.running() if self._publication is not None else nullcontext()
        with publishing, self._retention.running():
            self._number(conn, stop, on_tick)

    def _number(self, conn: Connection, stop: threading.Event, on_tick: Callable[[TickResult], None] | None) -> None:
        sleep, watch = Sleep(conn, self.stream), HorizonWatch(self.stream)
        while not stop.is_set():
            result = self.step(conn)
            if result.records:
                sleep.news()
                if on_tick is not None:
                    on_tick(result)
            # By the clock, not when there is nothing else to do: a shop that never rests needs it most.
            watch.look(conn)
            if not result.records:
                sleep.pause(stop)

    def step(self, conn: Connection) -> TickResult:
        """One tick, or a look whether there is anything for one; with a broker, word of it to the publication."""
        began = time.monotonic()
        soon = began < self._ticked + UNASKED_SECONDS and not self.projector.awaits(self.stream)
        # While there is news the next tick most likely has some too, and a look costs a part of it.
        if soon and not self._busy and not has_news(conn, self.stream):
            return NOTHING
        self._busy = False
        try:
            self._ticked = began
            result = tick(conn, self.stream, self.projector)
        except errors.UniqueViolation:
            # Somebody else appended this tick: nothing is lost, the next one starts behind it.
            return NOTHING
        except errors.Error as error:
            if is_lost(error) and time.monotonic() - began > self._in_tick_seconds:
                self._in_tick_seconds *= PATIENCE_FACTOR
            raise
        self._busy = result.records > 0
        if self._publication is not None and self._busy:
            self._publication.announce()
        return result
