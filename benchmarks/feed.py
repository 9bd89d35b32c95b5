"""A feed that reads the stream straight from the shop's database, without the web server in between."""

import threading

from migration_tools.messaging.batch import Batch
from migration_tools.messaging.stream import note_receipt, read_batch
from migration_tools.stores.postgres import Connection, connect


class DirectFeed:
    """messaging.consumer.Feed over a connection of its own, opened on first use."""

    def __init__(self, stream: str):
        self.stream = stream
        self._conn: Connection | None = None

    def fetch(self, *, after: int, limit: int, wait_seconds: float, mark: str = "") -> Batch:
        """The batch after a position; waits a moment when there is none."""
        if self._conn is None or self._conn.closed:
            self._conn = connect("default", "feed")
        cursor = self._conn.cursor()
        note_receipt(cursor, self.stream, "service", after)
        batch = read_batch(cursor, self.stream, origin="shop", after=after, limit=limit, mark=mark)
        if batch.first == batch.last and wait_seconds:
            threading.Event().wait(min(wait_seconds, 0.01))
        return batch

    def close(self) -> None:
        """Give the connection back."""
        if self._conn is not None:
            self._conn.close()
