"""The consumer: takes batches from a transport, applies them, fills holes from the feed, survives every outage."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from django.db import connections
from django.db.utils import Error as DatabaseFailure

from migration_tools.conf import settings
from migration_tools.errors import ForeignStream, StrangleError, StreamHole, TransferError, TransportError
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.groups import inbox_name
from migration_tools.messaging.inbox import RowApplier, apply_batch, move_to, note_standstill, place
from migration_tools.stores.postgres import (
    advisory,
    describe_failure,
    django_connection,
    errors,
    keep_plans,
    own_session,
)

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
STANDBY_SECONDS = 0.5
RECEIPT_SECONDS = 1.0
FIRST_RECORDS = 50
LONG_SECONDS = 1.0


class Feed(Protocol):
    """Reads a stream by position: the transport that every other one falls back to."""

    def fetch(self, *, after: int, limit: int, wait_seconds: float, mark: str = "") -> Batch:
        """Batch after a position, waiting up to `wait_seconds` for news; TransportError when nobody answers.

        `mark` is what the record at the position is known by; see messaging.batch, Note [marks].
        """
        ...


class Subscription(Protocol):
    """The receiving half of a transport that has a broker."""

    def receive(self, wait_seconds: float) -> Batch | None:
        """The batch not yet `done`, else the next one, or None; TransportError when the broker is away."""
        ...

    def done(self) -> None:
        """Acknowledge what was received: it is applied, or already was. Raises nothing: a repetition is harmless."""
        ...


class Consumer:
    """Applies a stream of another side on the Django database `using` until told to stop; or its events, to a group.

    Note [as much as is done in a second]. A batch is one transaction: whoever is cut off in it begins it anew. Where
    handlers are slow, or the database is away ever again, a batch of BATCH_ROWS might never come to its end. So a
    consumer begins with few records, asks for more while they are done soon, and for fewer after a long batch or a
    failure.
    """

    def __init__(
        self,
        stream: str,
        feed: Feed,
        applier: RowApplier | None,
        *,
        using: str | None = None,
        subscription: Subscription | None = None,
        group: str = "",
    ):
        self.stream = stream
        self.feed = feed
        self.applier = applier
        self.using = using or settings().DATABASE
        self.subscription = subscription
        self.group = group
        self.inbox = inbox_name(stream, group)
        self._leads = False
        self._at: tuple[int, str] | None = None
        self._applied = 0
        self._asked = -RECEIPT_SECONDS
        self._hears = True
        self._stood = True
        self._records = FIRST_RECORDS

    def run(self, stop: threading.Event, on_applied: Callable[[int], None] | None = None) -> None:
        """Work until `stop` is set: one consumer leads, others of the same stream stand by."""
        pause = FIRST_PAUSE_SECONDS
        while not stop.is_set():
            try:
                if not self._lead():
                    stop.wait(STANDBY_SECONDS)
                    continue
                position = self.step(settings().FEED_WAIT_SECONDS)
                pause = FIRST_PAUSE_SECONDS
                if self._stood:
                    note_standstill(django_connection(self.using), self.inbox, "")
                    self._stood = False
                if on_applied is not None:
                    on_applied(position)
            except (StrangleError, DatabaseFailure, errors.Error, OSError) as error:
                self._leads, self._at = False, None
                if not isinstance(error, TransportError):
                    self._records = max(1, min(self._records, FIRST_RECORDS) // 2)
                connections[self.using].close()
                log.warning(
                    "consumer %s: %s; trying again",
                    self.stream,
                    describe_failure(error),
                    extra={"context": self.stream},
                )
                self._tell(error)
                if isinstance(error, TransferError):
                    pause = LONGEST_PAUSE_SECONDS
                stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _tell(self, error: Exception) -> None:
        """Let operators and gates see why nothing is applied; a feed that does not answer is not this side's fault."""
        if isinstance(error, TransportError) or not self._stood:
            # Once at first: what passes by itself within a pause stands in nobody's way.
            self._stood = True
            return
        with contextlib.suppress(StrangleError, DatabaseFailure, errors.Error, OSError):
            note_standstill(django_connection(self.using), self.inbox, describe_failure(error))

    def step(self, wait_seconds: float) -> int:
        """Take and apply one batch; returns the position after it."""
        batch, from_broker = self._next(wait_seconds)
        position = batch.last
        if batch.first != batch.last:
            try:
                position = self._apply(batch)
            except StreamHole:
                position = self._fill()
            except ForeignStream as error:
                if not from_broker:
                    raise
                # The broker is shared with a stranger: its batch is let go, and what is missing the feed has.
                log.error("consumer %s: %s", self.inbox, error, extra={"context": self.stream})
                position = self._place()[0]
        if from_broker and self.subscription is not None:
            self.subscription.done()
        # Somebody may set the position (a replay) while nothing comes; as long as something does, the batch tells.
        self._at = (position, batch.mark) if batch.first != batch.last == position else None
        self._applied = position
        return position

    def skip_to_head(self) -> None:
        """Take the stream's present end as applied, after its owner was restored or dropped what we had not read."""
        end = self.feed.fetch(after=0, limit=0, wait_seconds=0)
        move_to(django_connection(self.using), self.inbox, end.head, rows=True, identity=end.identity)

    def _next(self, wait_seconds: float) -> tuple[Batch, bool]:
        """The next batch and whether the broker sent it."""
        if self.subscription is None:
            return self._ask(self._limit(), wait_seconds), False
        asked = None
        if time.monotonic() > self._asked + RECEIPT_SECONDS:
            # However much the broker sends: the position we ask for is our receipt, and the owner waits for it.
            with contextlib.suppress(TransportError):
                asked = self._ask(self._limit(), 0)
        news = asked if asked is not None and asked.first != asked.last else None
        try:
            received = self.subscription.receive(0 if news else min(wait_seconds, 1.0))
        except TransportError as error:
            if self._hears:
                self._hears = False
                log.warning("consumer %s reads the feed: %s", self.stream, error, extra={"context": self.stream})
            return news or self._ask(self._limit(), min(wait_seconds, 1.0)), False
        if not self._hears:
            self._hears = True
            log.info("consumer %s hears the broker again", self.stream, extra={"context": self.stream})
        if received is not None and received.first < self._applied:
            # It begins where we have been: sent twice, or by an owner that was restored. The owner tells which.
            with contextlib.suppress(TransportError):
                self._ask(0, 0)
        if received is not None:
            # Behind by more than one message: the owner's batch is the longer one and holds the broker's.
            return (news if news is not None and news.last >= received.last else received), True
        # Silence may mean a lost message: ask the owner, who knows.
        return news or self._ask(self._limit(), 0), False

    def _ask(self, limit: int, wait_seconds: float) -> Batch:
        self._asked = time.monotonic()
        known, self._at = self._at, None
        at, mark = known or self._place()
        return self.feed.fetch(after=at, limit=limit, wait_seconds=wait_seconds, mark=mark)

    def _fill(self) -> int:
        """Read what is missing from the feed, up to the end of the stream."""
        while True:
            at, mark = self._place()
            batch = self.feed.fetch(after=at, limit=self._limit(), wait_seconds=0, mark=mark)
            if batch.first == batch.last:
                return at
            self._apply(batch)

    def _limit(self) -> int:
        return min(self._records, settings().BATCH_ROWS)

    def _apply(self, batch: Batch) -> int:
        """Apply a batch, and learn from the time it takes how many records the next one may have."""
        began = time.monotonic()
        position = apply_batch(batch, self.applier, using=self.using, group=self.group)
        took = time.monotonic() - began
        if took > LONG_SECONDS:
            self._records = max(1, self._limit() // 2)
        elif took < LONG_SECONDS / 2:
            self._records = min(self._limit() * 2, settings().BATCH_ROWS)
        return position

    def _place(self) -> tuple[int, str]:
        return place(django_connection(self.using), self.inbox)

    def _lead(self) -> bool:
        if not self._leads:
            conn = own_session(self.using, f"consumer {self.inbox}")
            keep_plans(conn)
            self._leads = advisory.try_hold(conn, LockClass.CONSUMER, self.inbox)
        return self._leads


__all__ = ["Consumer", "Feed", "Subscription", "TransportError"]
