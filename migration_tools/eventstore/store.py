"""Aggregates kept as events: save them with an expected version, load them as of now, of a version or of a moment."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import connections, transaction
from django.utils.module_loading import autodiscover_modules
from eventsourcing.application import AggregateNotFoundError, Repository
from eventsourcing.domain import Aggregate, Snapshot
from eventsourcing.persistence import EventStore, Mapper, StoredEvent
from eventsourcing.utils import resolve_topic

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.eventstore.recorders import Conflict, EventRecorder, SnapshotRecorder
from migration_tools.eventstore.values import plain, transcoder
from migration_tools.messaging import outbox

A = TypeVar("A", bound=Aggregate)
R = TypeVar("R")
# What the library keeps in every event beside what the author declared.
OF_THE_LIBRARY = frozenset({"originator_id", "originator_version", "timestamp", "originator_topic", "class_version"})


class NoSuchAggregate(StrangleError):
    """No event of this aggregate is stored, or none up to the moment that was asked for."""


class NewerEvent(StrangleError):
    """An event was stored by code that is newer than this; it is not read as something it may not be."""


class VersionedMapper(Mapper[UUID]):
    """The library's mapper, which lifts events of earlier versions, and refuses those of later ones."""

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """See Mapper.

        Raises:
            NewerEvent: the event's version is above the class's.
        """
        kind = resolve_topic(stored_event.topic)
        said = self.transcoder.decode(stored_event.state).get("class_version", 1)
        known = getattr(kind, "class_version", 1)
        if said > known:
            raise NewerEvent(
                f"event {stored_event.topic!r} of {stored_event.originator_id} has version {said!r}, and this code "
                f"knows {known!r}; deploy the newer one before it is read"
            )
        return super().to_domain_event(stored_event)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """An event as it was stored, for audit: by whom, when, because of what, and its state untouched by upcasters."""

    aggregate_id: UUID
    version: int
    event_type: str
    event_version: int
    recorded_at: dt.datetime
    correlation_id: str | None
    causation_id: str | None
    metadata: Mapping[str, Any]
    state: Mapping[str, Any]


_registry: "dict[str, Aggregates[Any]]" = {}


def find(aggregate_type: str) -> "Aggregates[Any]":
    """What is declared for a type, in modules `aggregates.py` of installed apps.

    Raises:
        StrangleError: nothing is.
    """
    autodiscover_modules("aggregates")
    if aggregate_type not in _registry:
        raise StrangleError(f"no aggregates of type {aggregate_type!r} are declared; known are {sorted(_registry)}")
    return _registry[aggregate_type]


class Aggregates(Generic[A]):
    """The aggregates of one class.

    Args:
        kind: the class, of the library's `Aggregate`. It and each of its events must have a `TOPIC`: what is stored and
            published says `account.opened`, not where a class stands in the code.
        aggregate_type: what the stream calls it.
        stream: where its events are published, each in the transaction in which it is stored.
        snapshot_version: raise it when the class's state changes its shape: older snapshots are not read then.
        using: the Django database; MIGRATION_TOOLS['DATABASE'] by default.
    """

    def __init__(
        self, kind: type[A], *, aggregate_type: str, stream: str, snapshot_version: int = 1, using: str | None = None
    ):
        if not getattr(kind, "TOPIC", ""):
            raise StrangleError(f"{kind.__name__} has no TOPIC; give it and each of its events one, such as 'account'")
        _registry[aggregate_type] = self
        self.kind = kind
        self.aggregate_type = aggregate_type
        self.stream = stream
        self.snapshot_version = snapshot_version
        self._using = using

    @property
    def alias(self) -> str:
        """The Django database."""
        return self._using or settings().DATABASE

    def save(self, aggregate: A) -> int:
        """Store what happened to it since it was loaded, and publish it; returns how many events that were.

        Opens a transaction, or joins the caller's with a savepoint.

        Raises:
            Conflict: somebody else stored a version meanwhile; nothing was stored of this.
        """
        with transaction.atomic(using=self.alias):
            events = aggregate.collect_events()
            self._events().put(events)
            for event in events:
                outbox.publish(
                    getattr(type(event), "TOPIC", type(event).__name__),
                    aggregate_type=self.aggregate_type,
                    aggregate_id=aggregate.id,
                    payload=self._payload(event),
                    version=getattr(type(event), "class_version", 1),
                    stream=self.stream,
                    using=self.alias,
                )
        return len(events)

    def get(self, aggregate_id: UUID, *, version: int | None = None) -> A:
        """Load it, from the newest snapshot on if there is one; with `version`, as it was then.

        Raises:
            NoSuchAggregate: nothing is stored of it up to there.
        """
        repository: Repository[UUID] = Repository(self._events(), snapshot_store=self._snapshots())
        try:
            found: A = repository.get(aggregate_id, version=version)
        except AggregateNotFoundError:
            raise NoSuchAggregate(
                f"there is no {self.aggregate_type} {str(aggregate_id)!r}{f' in version {version}' if version else ''}"
            ) from None
        return found

    def as_of(self, aggregate_id: UUID, moment: dt.datetime) -> A:
        """Load it as it was at a moment, by the database's clock at which events were stored.

        Raises:
            NoSuchAggregate: it did not exist then.
        """
        with connections[self.alias].cursor() as cursor:
            cursor.execute(
                """SELECT max(version) FROM strangle_event
                   WHERE aggregate_id = %s AND aggregate_type = %s AND recorded_at <= %s""",
                [aggregate_id, self.aggregate_type, moment],
            )
            (version,) = cursor.fetchone()
        if version is None:
            raise NoSuchAggregate(f"there was no {self.aggregate_type} {str(aggregate_id)!r} at {moment.isoformat()}")
        return self.get(aggregate_id, version=version)

    def change(self, aggregate_id: UUID, command: Callable[[A], R], *, attempts: int = 5) -> R:
        """Load, run a command on it and save; anew each time that somebody else was first.

        Raises:
            Conflict: others were first `attempts` times.
        """
        for attempt in range(1, attempts + 1):
            aggregate = self.get(aggregate_id)
            result = command(aggregate)
            try:
                self.save(aggregate)
            except Conflict:
                if attempt == attempts:
                    raise
            else:
                return result
        raise AssertionError("unreachable")

    def snapshot(self, aggregate_id: UUID) -> int:
        """Keep it as it is now; returns its version. Whoever takes it may be anybody, at any time."""
        aggregate = self.get(aggregate_id)
        with transaction.atomic(using=self.alias):
            self._snapshots().put([Snapshot.take(aggregate)])
        return aggregate.version

    def history(self, aggregate_id: UUID | None = None, *, since: dt.datetime | None = None) -> Iterator[Recorded]:
        """What was stored of one, or of all, in the order of storing, as it was stored."""
        with connections[self.alias].cursor() as cursor:
            cursor.execute(
                """SELECT aggregate_id, version, event_type, event_version, recorded_at, correlation_id, causation_id,
                          metadata::text, state::text
                   FROM strangle_event WHERE aggregate_type = %(type)s
                     AND (%(id)s::uuid IS NULL OR aggregate_id = %(id)s)
                     AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
                   ORDER BY recorded_at, aggregate_id, version""",
                {"type": self.aggregate_type, "id": aggregate_id, "since": since},
            )
            for row in cursor.fetchall():
                yield Recorded(
                    aggregate_id=row[0],
                    version=row[1],
                    event_type=row[2],
                    event_version=row[3],
                    recorded_at=row[4],
                    correlation_id=row[5],
                    causation_id=row[6],
                    metadata=transcoder().decode(row[7].encode()),
                    state=transcoder().decode(row[8].encode()),
                )

    def _payload(self, event: Any) -> dict[str, Any]:
        said = {name: plain(value) for name, value in vars(event).items() if name not in OF_THE_LIBRARY}
        return {**said, "aggregate_id": str(event.originator_id), "aggregate_version": event.originator_version}

    def _events(self) -> EventStore[UUID]:
        return EventStore(VersionedMapper(transcoder()), EventRecorder(self.aggregate_type, self.alias))

    def _snapshots(self) -> EventStore[UUID]:
        recorder = SnapshotRecorder(self.aggregate_type, self.snapshot_version, self.alias)
        return EventStore(VersionedMapper(transcoder()), recorder)
