"""The library's recorders on Django's own connection: events, outbox and whatever else commit together."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connections, transaction
from eventsourcing.persistence import AggregateRecorder, StoredEvent

from migration_tools.errors import StrangleError
from migration_tools.messaging import context

_EVENTS = """SELECT aggregate_id, version, event_type, state::text FROM strangle_event
             WHERE aggregate_id = %s AND aggregate_type = %s AND version > %s
               AND version <= COALESCE(%s, 9223372036854775807)"""
_SNAPSHOTS = """SELECT aggregate_id, version, state ->> 'topic', (state -> 'state')::text FROM strangle_snapshot
                WHERE aggregate_id = %s AND aggregate_type = %s AND snapshot_version = %s AND version > %s
                  AND version <= COALESCE(%s, 9223372036854775807)"""
_FIRST_FIRST = " ORDER BY version LIMIT %s"
_LAST_FIRST = " ORDER BY version DESC LIMIT %s"


class Conflict(StrangleError):
    """Somebody else has stored the version that was to be stored; load the aggregate again and repeat the command."""


class EventRecorder(AggregateRecorder):
    """Stores and reads the events of one aggregate type."""

    def __init__(self, aggregate_type: str, alias: str):
        self.aggregate_type = aggregate_type
        self.alias = alias

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """See AggregateRecorder; call inside `atomic()`.

        Raises:
            Conflict: a version exists; the caller's transaction goes on without these events.
        """
        chain = context.current()
        rows = [
            [
                each.originator_id,
                each.originator_version,
                self.aggregate_type,
                each.topic,
                json.loads(each.state).get("class_version", 1),
                each.state.decode(),
                chain.correlation_id,
                chain.causation_id,
                json.dumps(chain.facts(), default=str),
            ]
            for each in stored_events
        ]
        try:
            with transaction.atomic(using=self.alias), connections[self.alias].cursor() as cursor:
                cursor.executemany(
                    """INSERT INTO strangle_event (aggregate_id, version, aggregate_type, event_type, event_version,
                           state, correlation_id, causation_id, metadata)
                       VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s::jsonb)""",
                    rows,
                )
        except IntegrityError as error:
            first = stored_events[0]
            raise Conflict(
                f"{self.aggregate_type} {first.originator_id} has a version {first.originator_version} already; load "
                "it again and repeat the command"
            ) from error
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """See AggregateRecorder."""
        with connections[self.alias].cursor() as cursor:
            cursor.execute(
                _EVENTS + (_LAST_FIRST if desc else _FIRST_FIRST),
                [originator_id, self.aggregate_type, gt or 0, lte, limit],
            )
            return [_stored(row) for row in cursor.fetchall()]


class SnapshotRecorder(AggregateRecorder):
    """Stores and reads snapshots; those of an aggregate whose code has moved on are as if they were not there."""

    def __init__(self, aggregate_type: str, snapshot_version: int, alias: str):
        self.aggregate_type = aggregate_type
        self.snapshot_version = snapshot_version
        self.alias = alias

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """See AggregateRecorder; one that is there already is written anew."""
        with connections[self.alias].cursor() as cursor:
            for each in stored_events:
                state = json.dumps({"topic": each.topic, "state": json.loads(each.state)})
                cursor.execute(
                    """INSERT INTO strangle_snapshot (aggregate_id, version, aggregate_type, snapshot_version, state)
                       VALUES (%s, %s, %s, %s, %s::jsonb)
                       ON CONFLICT (aggregate_id, version) DO UPDATE SET state = EXCLUDED.state,
                           snapshot_version = EXCLUDED.snapshot_version, created_at = clock_timestamp()""",
                    [each.originator_id, each.originator_version, self.aggregate_type, self.snapshot_version, state],
                )
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """See AggregateRecorder."""
        with connections[self.alias].cursor() as cursor:
            cursor.execute(
                _SNAPSHOTS + (_LAST_FIRST if desc else _FIRST_FIRST),
                [originator_id, self.aggregate_type, self.snapshot_version, gt or 0, lte, limit],
            )
            return [_stored(row) for row in cursor.fetchall()]


def _stored(row: tuple[Any, ...]) -> StoredEvent:
    return StoredEvent(originator_id=row[0], originator_version=row[1], topic=row[2], state=row[3].encode())
