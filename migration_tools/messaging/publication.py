"""Publish a stream to a broker, beside the relay that numbers it, from the last confirmed position on."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from migration_tools.conf import settings
from migration_tools.errors import StrangleError, TransferError, TransportError
from migration_tools.kernel import points
from migration_tools.messaging.batch import Batch, RelationHead
from migration_tools.messaging.groups import PREFIX as GROUP_PREFIX
from migration_tools.messaging.lag import REPLICA_PREFIX
from migration_tools.messaging.stream import read_batch
from migration_tools.stores.postgres import Connection, connect, describe_failure, is_lost

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5
QUIET_SECONDS = 1.0
SAVE_SECONDS = 1.0


class Publisher(Protocol):
    """The sending half of a transport that has a broker; see messaging.transports."""

    def publish(self, batch: Batch) -> None:
        """Send and return once the broker has confirmed it; TransportError otherwise."""
        ...


class Publication:
    """Sends batch after batch of one stream, on a thread of its own: a slow or absent broker delays no tick.

    One batch at a time is in memory, whatever the broker does. Each transport has its own position, saved once a
    second: after a restart it goes on from there, and the first time from where the slowest known consumer is. What
    is sent twice the consumers skip, what is never sent they read from the feed.
    """

    def __init__(self, stream: str, publisher: Publisher, *, alias: str, transport: str = "kombu"):
        self.stream = stream
        self.publisher = publisher
        self.alias = alias
        self.transport = transport
        self._confirmed: int | None = None
        self._heads: dict[int, RelationHead] = {}
        self._saved: tuple[int, float] = (-1, float("-inf"))
        self._distrusts = False
        self._news = threading.Event()
        self._works = True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Publish during the block."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,), name=f"publication {self.stream}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            self._news.set()
            thread.join()

    def announce(self) -> None:
        """Say that a tick was committed."""
        self._news.set()

    def step(self, conn: Connection) -> bool:
        """Send the batch after the last confirmed one; False when there is none.

        Raises:
            TransportError: the broker did not confirm it; the position stays.
        """
        cursor = conn.cursor()
        if self._confirmed is None:
            self._confirmed = self._begin(conn)
        own = settings()
        batch = read_batch(
            cursor, self.stream, origin=own.SIDE, after=self._confirmed, limit=own.BATCH_ROWS, known=self._heads
        )
        if batch.first == batch.last:
            self._save(conn)
            return False
        self.publisher.publish(batch)
        points.reached("publication.confirmed")
        self._confirmed = batch.last
        if time.monotonic() > self._saved[1] + SAVE_SECONDS:
            self._save(conn)
        return True

    def _begin(self, conn: Connection) -> int:
        """The saved position; without one, or when the stream did not have it, where the slowest consumer is."""
        if not self._distrusts:
            row = conn.execute(
                "SELECT position FROM strangle_transport WHERE stream = %s AND transport = %s",
                [self.stream, self.transport],
            ).fetchone()
            if row is not None:
                return int(row[0])
        row = conn.execute(
            "SELECT COALESCE(min(position), 0) FROM strangle_consumer WHERE stream = %s"
            " AND NOT (starts_with(name, %s) OR starts_with(name, %s))",
            [self.stream, REPLICA_PREFIX, GROUP_PREFIX],
        ).fetchone()
        return int(row[0]) if row else 0

    def _save(self, conn: Connection) -> None:
        if self._confirmed is None or self._confirmed == self._saved[0]:
            return
        conn.execute(
            """INSERT INTO strangle_transport (stream, transport, position) VALUES (%s, %s, %s)
               ON CONFLICT (stream, transport) DO UPDATE
                   SET position = EXCLUDED.position, confirmed_at = clock_timestamp()""",
            [self.stream, self.transport, self._confirmed],
        )
        self._saved = (self._confirmed, time.monotonic())
        self._distrusts = False

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._heads = {}
                with connect(self.alias, f"publication {self.stream}") as conn:
                    self._work(conn, stop)
            except Exception as error:
                self._note(error)
                stop.wait(AGAIN_SECONDS)

    def _work(self, conn: Connection, stop: threading.Event) -> None:
        while not stop.is_set():
            self._news.clear()
            try:
                more = self.step(conn)
            except (TransportError, TransferError) as error:
                self._note(error)
                stop.wait(AGAIN_SECONDS)
                continue
            if not more:
                self._news.wait(QUIET_SECONDS)
            elif not self._works:
                self._works = True
                log.info("stream %s is published again", self.stream, extra={"context": self.stream})

    def _note(self, error: Exception) -> None:
        if isinstance(error, TransferError):
            # Retention went past us, so every consumer did, by the feed; or the stream was restored from before what we
            # have sent: begin where the slowest consumer is.
            self._confirmed, self._distrusts = None, True
        expected = isinstance(error, StrangleError) or is_lost(error)
        if self._works or not expected:
            self._works = False
            log.warning(
                "stream %s is numbered but not published: %s",
                self.stream,
                describe_failure(error),
                exc_info=None if expected else error,
                extra={"context": self.stream},
            )
