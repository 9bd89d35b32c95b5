"""Copy aggregates into another type, event by event, through a function: the old events stay what they were."""

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from eventsourcing.domain import AggregateCreated, DomainEvent
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import get_topic

from migration_tools.errors import StrangleError
from migration_tools.eventstore.store import Aggregates, VersionedMapper
from migration_tools.eventstore.values import transcoder
from migration_tools.kernel import points

NAMESPACE = uuid.UUID("6b1f2c50-5f0e-4d3a-9a4e-2f7c1f0d9e60")
Made = Iterable[tuple[type[Any], dict[str, Any]]]
Transform = Callable[[Any], Made]


@dataclass(frozen=True, kw_only=True)
class Copied:
    """How many aggregates and events were read, and how many events were written."""

    aggregates: int
    read: int
    written: int


def id_in(target: Aggregates[Any], source_id: UUID) -> UUID:
    """The id of an aggregate's copy: always the same one."""
    return uuid.uuid5(NAMESPACE, f"{target.aggregate_type}/{source_id}")


def copy_transformed(source: Aggregates[Any], target: Aggregates[Any], transform: Transform) -> Copied:
    """Copy what is not copied yet; each aggregate in one transaction, so it goes on wherever it was cut off.

    `transform` is given each event as it is read today, and gives classes and what they say: none, one or several. The
    copies keep the moment of their original, name it in their metadata, and are not published: they are no news.

    Raises:
        StrangleError: an event becomes something that cannot be the first or a later event of an aggregate.
    """
    with connections[source.alias].cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT aggregate_id FROM strangle_event WHERE aggregate_type = %s ORDER BY 1",
            [source.aggregate_type],
        )
        ids = [row[0] for row in cursor.fetchall()]
    read = written = 0
    for each in ids:
        with transaction.atomic(using=target.alias):
            counts = _copy(source, target, each, transform)
            points.reached("transformation.before_commit")
        read, written = read + counts[0], written + counts[1]
    return Copied(aggregates=len(ids), read=read, written=written)


def _copy(source: Aggregates[Any], target: Aggregates[Any], source_id: UUID, transform: Transform) -> tuple[int, int]:
    mapper, new_id = VersionedMapper(transcoder()), id_in(target, source_id)
    with connections[target.alias].cursor() as cursor:
        cursor.execute(
            """SELECT COALESCE(max(version), 0), COALESCE(max((metadata ->> 'copied_version')::bigint), 0)
               FROM strangle_event WHERE aggregate_id = %s""",
            [new_id],
        )
        version, done = cursor.fetchone()
        cursor.execute(
            """SELECT version, event_type, state::text, recorded_at, correlation_id, causation_id, metadata::text
               FROM strangle_event WHERE aggregate_id = %s AND version > %s ORDER BY version""",
            [source_id, done],
        )
        rows, written = cursor.fetchall(), 0
        for at, topic, state, moment, correlation, causation, metadata in rows:
            stored = StoredEvent(originator_id=source_id, originator_version=at, topic=topic, state=state.encode())
            event: DomainEvent = mapper.to_domain_event(stored)
            for kind, said in transform(event):
                version += 1
                written += 1
                made = _made(target, kind, said, new_id, version, event)
                copy = mapper.to_stored_event(made)
                origin = {**json.loads(metadata), "copied_from": str(source_id), "copied_version": at}
                cursor.execute(
                    """INSERT INTO strangle_event (aggregate_id, version, aggregate_type, event_type, event_version,
                           state, correlation_id, causation_id, metadata, recorded_at)
                       VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s::jsonb, %s)""",
                    [
                        new_id,
                        version,
                        target.aggregate_type,
                        copy.topic,
                        getattr(kind, "class_version", 1),
                        copy.state.decode(),
                        correlation,
                        causation,
                        json.dumps(origin),
                        moment,
                    ],
                )
    return len(rows), written


def _made(
    target: Aggregates[Any], kind: type[Any], said: dict[str, Any], new_id: UUID, version: int, event: Any
) -> Any:
    creates = issubclass(kind, AggregateCreated)
    if creates != (version == 1):
        raise StrangleError(
            f"{type(event).__name__} becomes {kind.__name__} as event {version} of a {target.aggregate_type}; the "
            "first event, and no other, must be one that creates it"
        )
    first = {"originator_topic": get_topic(target.kind)} if creates else {}
    return kind(originator_id=new_id, originator_version=version, timestamp=event.timestamp, **first, **said)
