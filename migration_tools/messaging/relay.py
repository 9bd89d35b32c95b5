"""The relay: the one process that numbers a stream's outbox, publishes it and keeps it from growing."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from migration_tools.conf import settings
from migration_tools.errors import StrangleError, TransferError, TransportError
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.stream import read_batch
from migration_tools.messaging.ticks import Projector, TickResult, append_tick
from migration_tools.stores.postgres import Connection, advisory, connect, describe_failure, errors, is_lost, transaction

log = logging.getLogger(__name__)

RETENTION_EVERY_SECONDS = 30.0
STANDBY_SECONDS = 0.5
RECONNECT_SECONDS = 0.5
PUBLISH_SECONDS = 0.5
DELETE_ROWS = 10_000


class Publisher(Protocol):
    """The sending half of a transport that has a broker; see messaging.transports."""

    def publish(self, batch: Batch) -> None:
        """Send and return once the broker has confirmed it; TransportError otherwise."""
        ...


def tick(conn: Connection, stream: str, projector: Projector) -> TickResult:
    """Append one tick in a transaction of its own; the TICK lock is taken before its snapshot is."""
    with advisory.held(conn, LockClass.TICK, stream), transaction(conn, repeatable=True):
        return append_tick(conn, stream, projector)


class Relay:
    """Numbers one stream until told to stop; survives a lost database; a second relay stands by."""

    def __init__(self, stream: str, projector: Projector, *, alias: str | None = None, publisher: Publisher | None = None):
        self.stream = stream
        self.alias = alias or settings().DATABASE
        self.projector = projector
        self.publisher = publisher
        self.failed = False
        self._published: int | None = None
        self._publish_from = 0.0
        self._publishes = True
        self._cleaned = time.monotonic()

    def run(self, stop: threading.Event, on_tick: Callable[[TickResult], None] | None = None) -> None:
        """Work until `stop` is set."""
        while not stop.is_set():
            try:
                with connect(self.alias, f"relay {self.stream}") as conn:
                    self._lead(conn, stop, on_tick)
            except Exception as error:
                if not (is_lost(error) or isinstance(error, StrangleError)):
                    raise
                log.warning("relay %s: %s; trying again", self.stream, describe_failure(error), extra={"context": self.stream})
                stop.wait(RECONNECT_SECONDS)

    def _lead(self, conn: Connection, stop: threading.Event, on_tick: Callable[[TickResult], None] | None) -> None:
        while not advisory.try_hold(conn, LockClass.RELAY, self.stream):
            if stop.wait(STANDBY_SECONDS):
                return
        log.info("relay %s leads", self.stream, extra={"context": self.stream})
        idle = settings().RELAY_IDLE_SECONDS
        while not stop.is_set():
            result = self.step(conn)
            if on_tick is not None and result.records:
                on_tick(result)
            if not result.records:
                self._retain(conn)
                stop.wait(idle)

    def step(self, conn: Connection) -> TickResult:
        """One tick and, with a broker, its publication."""
        try:
            result = tick(conn, self.stream, self.projector)
        except errors.UniqueViolation:
            # Somebody else appended this tick: nothing is lost, the next one starts behind it.
            return TickResult(number=0, head=0, records=0)
        if self.publisher is not None:
            self._publish(conn, self.publisher)
        return result

    def _publish(self, conn: Connection, publisher: Publisher) -> None:
        """Publish what follows the last confirmed batch, for a moment; a broker that is away never stops the numbering."""
        now = time.monotonic()
        if now < self._publish_from:
            return
        try:
            while time.monotonic() < now + PUBLISH_SECONDS and self._publish_next(conn, publisher):
                if not self._publishes:
                    self._publishes = True
                    log.info("relay %s publishes again", self.stream, extra={"context": self.stream})
        except (TransportError, TransferError) as error:
            if isinstance(error, TransferError):
                # Retention went past it, as every consumer did by the feed: begin again where the slowest one is.
                self._published = None
            self._publish_from = time.monotonic() + RECONNECT_SECONDS
            if self._publishes:
                self._publishes = False
                log.warning("relay %s numbers but does not publish: %s", self.stream, error, extra={"context": self.stream})

    def _publish_next(self, conn: Connection, publisher: Publisher) -> bool:
        cursor = conn.cursor()
        if self._published is None:
            row = cursor.execute(
                "SELECT COALESCE(min(position), 0) FROM strangle_consumer WHERE stream = %s", [self.stream]
            ).fetchone()
            self._published = int(row[0]) if row else 0
        batch = read_batch(cursor, self.stream, origin=settings().SIDE, after=self._published, limit=settings().BATCH_ROWS)
        if batch.first == batch.last:
            return False
        publisher.publish(batch)
        self._published = batch.last
        return True

    def _retain(self, conn: Connection) -> None:
        if time.monotonic() - self._cleaned < RETENTION_EVERY_SECONDS:
            return
        self._cleaned = time.monotonic()
        drop_old(conn, self.stream)


def drop_old(conn: Connection, stream: str) -> None:
    """Delete outbox rows already in a tick and stream records that every known consumer has applied, when old enough."""
    conn.execute(
        """DELETE FROM strangle_outbox WHERE seq IN (
               SELECT seq FROM strangle_outbox WHERE stream = %(stream)s
                 AND xid < (SELECT pg_snapshot_xmin(snapshot) FROM strangle_tick WHERE stream = %(stream)s
                            ORDER BY number DESC LIMIT 1)
                 AND occurred_at < clock_timestamp() - make_interval(secs => %(age)s)
               ORDER BY seq LIMIT %(rows)s)""",
        {"stream": stream, "age": settings().OUTBOX_RETENTION_SECONDS, "rows": DELETE_ROWS},
    )
    conn.execute(
        """DELETE FROM strangle_stream WHERE stream = %(stream)s AND position IN (
               SELECT position FROM strangle_stream WHERE stream = %(stream)s
                 AND position <= (SELECT min(position) FROM strangle_consumer WHERE stream = %(stream)s)
                 AND occurred_at < clock_timestamp() - make_interval(secs => %(age)s)
               ORDER BY position LIMIT %(rows)s)""",
        {"stream": stream, "age": settings().STREAM_RETENTION_SECONDS, "rows": DELETE_ROWS},
    )
