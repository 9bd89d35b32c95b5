"""What a test published and captured: the outbox as the test's own transaction sees it, and streams drained at will."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from migration_tools.capture.projector import RelationProjector
from migration_tools.conf import settings
from migration_tools.kernel import points
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.models import Outbox, OutboxKind
from migration_tools.messaging.relay import tick
from migration_tools.messaging.stream import note_receipt, read_batch
from migration_tools.stores.postgres import Connection, connect
from migration_tools.transfer.sync import TableWriter


@dataclass(frozen=True, kw_only=True)
class Published:
    """One event that the test published."""

    type: str
    version: int
    stream: str
    aggregate: str
    payload: dict[str, Any]
    correlation_id: str | None


class OutboxWatch:
    """The outbox since the test began, read on Django's own connection: a transaction around the test hides nothing."""

    def __init__(self, using: str | None = None) -> None:
        self._using = using or settings().DATABASE
        last = Outbox.objects.using(self._using).order_by("-seq").first()
        self._before = last.seq if last else 0

    def events(self, type_: str | None = None) -> list[Published]:
        """What was published, in order; of one type if asked."""
        rows = self._rows().filter(kind=OutboxKind.EVENT)
        if type_ is not None:
            rows = rows.filter(event_type=type_)
        return [
            Published(
                type=row.event_type or "",
                version=row.event_version or 1,
                stream=row.stream,
                aggregate=f"{row.aggregate_type}/{row.aggregate_id}",
                payload=row.payload or {},
                correlation_id=row.correlation_id,
            )
            for row in rows
        ]

    def touched(self, table: str | None = None) -> list[str]:
        """Captured tables that were written, once for each statement."""
        rows = self._rows().filter(kind=OutboxKind.TOUCH)
        return [name for name in rows.values_list("table_name", flat=True) if name and table in (None, name)]

    def assert_published(self, type_: str, **payload: Any) -> Published:
        """Exactly one event of the type whose payload has these values; returns it.

        Raises:
            AssertionError: none or several; the message says what was published.
        """
        found = [each for each in self.events(type_) if _has(each.payload, payload)]
        if len(found) != 1:
            told = "\n".join(f"  {each.type} {each.payload}" for each in self.events()) or "  nothing"
            raise AssertionError(f"{len(found)} events {type_!r} with {payload!r}, not one; published was:\n{told}")
        return found[0]

    def assert_nothing_published(self) -> None:
        """No event at all.

        Raises:
            AssertionError: the message names them.
        """
        found = self.events()
        if found:
            raise AssertionError(f"{len(found)} events were published: {[each.type for each in found]}")

    def _rows(self) -> QuerySet[Outbox]:
        return Outbox.objects.using(self._using).filter(seq__gt=self._before).order_by("seq")


def _has(payload: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(name in payload and payload[name] == value for name, value in wanted.items())


class LocalFeed:
    """A feed that reads the sender's database instead of asking its server."""

    def __init__(self, stream: str, sender: str, consumer: str) -> None:
        self._stream, self._sender, self._consumer = stream, sender, consumer
        self._conn: Connection = connect(sender, "drain")

    def fetch(self, *, after: int, limit: int, wait_seconds: float, mark: str = "") -> Batch:
        """See messaging.consumer.Feed; never waits."""
        cursor = self._conn.cursor()
        note_receipt(cursor, self._stream, self._consumer, after)
        return read_batch(cursor, self._stream, origin=self._sender, after=after, limit=limit, mark=mark)

    def close(self) -> None:
        """Close its connection."""
        self._conn.close()


def drain(stream: str, *, sender: str, receiver: str, group: str = "") -> int:
    """Number what is committed and apply it, rows and events, until nothing is left; returns the position.

    Raises:
        RuntimeError: a transaction is open around the test, so nothing of it is committed.
    """
    for alias in (sender, receiver):
        if connections[alias].in_atomic_block:
            raise RuntimeError(
                f"drain({stream!r}) sees committed writes only, and a transaction is open on {alias!r}; use "
                "@pytest.mark.django_db(transaction=True)"
            )
    feed = LocalFeed(stream, sender, f"drain {receiver}")
    try:
        consumer = Consumer(stream, feed, None if group else TableWriter(), using=receiver, group=group)
        before = -1
        while True:
            with connect(sender, "drain") as conn:
                tick(conn, stream, RelationProjector())
            at = consumer.step(0)
            if at == before:
                return at
            before = at
    finally:
        feed.close()


class Faults:
    """Named points of the toolkit's code, where a test lets something happen."""

    class Died(BaseException):
        """The process ended here, as far as the code under test can tell: no `except Exception` catches it."""

    @contextmanager
    def dies_at(self, point: str) -> Iterator[None]:
        """Within the block the code ends at the point, as by kill -9 but for what `finally` does; ends with it.

        Raises:
            AssertionError: the point was never reached.
        """
        reached = threading.Event()

        def die() -> None:
            reached.set()
            raise Faults.Died(point)

        try:
            with points.on(point, die):
                yield
        except Faults.Died:
            return
        if not reached.is_set():
            raise AssertionError(f"point {point!r} was never reached; known by now are {sorted(points._known)}")

    @contextmanager
    def happens_at(self, point: str, action: Callable[[], None]) -> Iterator[None]:
        """Within the block `action` is called whenever the code comes to the point."""
        with points.on(point, action):
            yield
