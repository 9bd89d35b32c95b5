"""Snapshots in the background: of aggregates with many events since the last one, or with an old one."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from migration_tools.eventstore.store import Aggregates


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When an aggregate gets a snapshot: after so many events, or so many hours after the last one if it changed."""

    events: int = 100
    hours: float = 24.0


def due(aggregates: Aggregates[Any], policy: Policy, *, limit: int | None = 1000) -> list[UUID]:
    """The aggregates that the policy wants a snapshot of, those with most events first."""
    with connections[aggregates.alias].cursor() as cursor:
        cursor.execute(
            """SELECT e.aggregate_id FROM strangle_event e
               LEFT JOIN LATERAL (
                   SELECT s.version, s.created_at FROM strangle_snapshot s
                   WHERE s.aggregate_id = e.aggregate_id AND s.snapshot_version = %(version)s
                   ORDER BY s.version DESC LIMIT 1) newest ON true
               WHERE e.aggregate_type = %(type)s AND e.version > COALESCE(newest.version, 0)
               GROUP BY e.aggregate_id, newest.created_at
               HAVING count(*) >= %(events)s
                   OR COALESCE(newest.created_at, min(e.recorded_at))
                      < clock_timestamp() - %(hours)s * interval '1 hour'
               ORDER BY count(*) DESC, e.aggregate_id LIMIT %(limit)s""",
            {
                "type": aggregates.aggregate_type,
                "version": aggregates.snapshot_version,
                "events": policy.events,
                "hours": policy.hours,
                "limit": limit,
            },
        )
        return [row[0] for row in cursor.fetchall()]


def take_due(aggregates: Aggregates[Any], policy: Policy, stop: threading.Event) -> Iterator[tuple[UUID, int]]:
    """Take every snapshot that is due, each in a transaction of its own; gives aggregate and version.

    Two of it at once take the same ones twice, which does no harm.
    """
    while found := due(aggregates, policy):
        for each in found:
            if stop.is_set():
                return
            yield each, aggregates.snapshot(each)


def drop(aggregates: Aggregates[Any]) -> int:
    """Drop all snapshots of a type; what they saved is read from the events again. Returns how many there were."""
    with transaction.atomic(using=aggregates.alias), connections[aggregates.alias].cursor() as cursor:
        cursor.execute("DELETE FROM strangle_snapshot WHERE aggregate_type = %s", [aggregates.aggregate_type])
        return int(cursor.rowcount)
