"""How a service of the storm hears another: its stream, and a broker that is silent, repeats and runs ahead."""

import random
from collections.abc import Callable, Set
from typing import Any

import psycopg

from migration_tools.messaging.batch import Batch
from migration_tools.messaging.stream import read_batch

AS_IT_IS = 10_000
PLACES = """SELECT position FROM strangle_stream
    WHERE stream = %s AND position > %s AND position <= %s AND event_type = ANY (%s) ORDER BY position"""


class Feed:
    """A stream in its owner's database, read without HTTP, up to where it was when the turn began."""

    def __init__(self, dsn: str, stream: str) -> None:
        self.dsn, self.stream = dsn, stream
        self.upto = 0
        self.most = AS_IT_IS
        self._conn: psycopg.Connection[Any] | None = None

    def fetch(self, *, after: int, limit: int, wait_seconds: float, mark: str = "") -> Batch:
        """See messaging.consumer.Feed; nobody waits here, and a batch is as small as the dice said."""
        return read_batch(
            self._open().cursor(),
            self.stream,
            origin=self.stream,
            after=after,
            limit=min(limit, self.most),
            upto=self.upto,
            mark=mark,
        )

    def places(self, types: Set[str], *, after: int) -> list[int]:
        """Where events of these types stand behind a position."""
        found = self._open().execute(PLACES, [self.stream, after, self.upto, sorted(types)])
        return [int(row[0]) for row in found]

    def _open(self) -> psycopg.Connection[Any]:
        if self._conn is None or self._conn.closed:
            self._conn = psycopg.connect(self.dsn, autocommit=True)
        return self._conn


class Broker:
    """A subscription that may be silent, give what was given before, or what comes after something that is lost."""

    def __init__(self, feed: Feed, at: Callable[[], int], dice: random.Random) -> None:
        self._feed, self._at = feed, at
        self.dice = dice

    def receive(self, wait_seconds: float) -> Batch | None:
        """See messaging.consumer.Subscription."""
        fate, at = self.dice.random(), self._at()
        if fate < 0.4:
            return None
        if fate < 0.65:
            after = at
        elif fate < 0.85:
            after = max(0, at - self.dice.randint(1, 40))
        else:
            after = min(self._feed.upto, at + self.dice.randint(1, 15))
        batch = self._feed.fetch(after=after, limit=AS_IT_IS, wait_seconds=0)
        return batch if batch.first != batch.last else None

    def done(self) -> None:
        """Nothing: whether it comes again, the dice say."""
