"""Publish a stream to a broker, beside the relay that numbers it, from the last confirmed position on."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from migration_tools.conf import settings
from migration_tools.errors import StrangleError, TransferError, TransportError
from migration_tools.kernel import points
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.groups import PREFIX as GROUP_PREFIX
from migration_tools.messaging.lag import REPLICA_PREFIX
from migration_tools.messaging.stream import read_batch
from migration_tools.stores.postgres import Connection, connect, describe_failure, is_lost

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5
QUIET_SECONDS = 1.0


class Publisher(Protocol):
    """The sending half of a transport that has a broker; see messaging.transports."""

    def publish(self, batch: Batch) -> None:
        """Send and return once the broker has confirmed it; TransportError otherwise."""
        ...


class Publication:
    """Sends batch after batch of one stream, on a thread of its own: a slow or absent broker delays no tick.

    The position is kept in memory: after a restart it begins where the slowest known consumer is. What is
    sent twice the consumers skip, what is never sent they read from the feed.
    """

    def __init__(self, stream: str, publisher: Publisher, *, alias: str):
        self.stream = stream
        self.publisher = publisher
        self.alias = alias
        self._confirmed: int | None = None
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
            row = cursor.execute(
                "SELECT COALESCE(min(position), 0) FROM strangle_consumer WHERE stream = %s"
                " AND NOT (starts_with(name, %s) OR starts_with(name, %s))",
                [self.stream, REPLICA_PREFIX, GROUP_PREFIX],
            ).fetchone()
            self._confirmed = int(row[0]) if row else 0
        own = settings()
        batch = read_batch(cursor, self.stream, origin=own.SIDE, after=self._confirmed, limit=own.BATCH_ROWS)
        if batch.first == batch.last:
            return False
        self.publisher.publish(batch)
        points.reached("publication.confirmed")
        self._confirmed = batch.last
        return True

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
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
            # Retention went past us, so every consumer did, by the feed: begin where the slowest one is.
            self._confirmed = None
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
