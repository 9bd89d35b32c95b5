"""What operators see of sagas: which are open, which are stuck and why, and the log of one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, LiteralString

from django.db import connections


@dataclass(frozen=True, kw_only=True)
class Overview:
    """One saga as a line; `why` says why it needs somebody, empty while it does not."""

    saga_id: str
    saga: str
    version: int
    context: str
    aggregate: str
    status: str
    step: int
    steps: int
    attempt: int
    age_seconds: float
    reason: str
    why: str
    completed: list[str]
    compensated: list[str]


_OVERVIEW: LiteralString = """SELECT saga_id::text, saga_type, version, context,
        concat_ws('/', NULLIF(aggregate_type, ''), NULLIF(aggregate_id, '')), status, current_step, max_steps, attempt,
        EXTRACT(epoch FROM clock_timestamp() - created_at)::float, reason,
        CASE WHEN status NOT IN ('running', 'compensating') THEN ''
             WHEN alarm <> '' THEN alarm
             WHEN alarm_at < clock_timestamp() THEN 'it is open for longer than its definition expects'
             ELSE '' END AS why,
        steps_completed::text, steps_compensated::text
    FROM saga_state"""
_LIST: LiteralString = (
    _OVERVIEW
    + """ WHERE (%(ended)s OR status IN ('running', 'compensating')) AND (%(context)s = '' OR context = %(context)s)
        AND (NOT %(stuck)s OR (status IN ('running', 'compensating')
                               AND (alarm <> '' OR alarm_at < clock_timestamp())))
        ORDER BY created_at LIMIT %(limit)s"""
)
_ONE: LiteralString = _OVERVIEW + " WHERE saga_id::text = %s"


def overviews(
    using: str, *, context: str = "", stuck: bool = False, ended: bool = False, limit: int = 1000
) -> list[Overview]:
    """Sagas of this service, the oldest first: the open ones, or all; or only those that need somebody."""
    values = {"context": context, "stuck": stuck, "ended": ended, "limit": limit}
    return [_overview(row) for row in _rows(using, _LIST, values)]


def overview(using: str, saga_id: str) -> Overview | None:
    """One saga; None if this service orchestrates no such saga."""
    return next((_overview(row) for row in _rows(using, _ONE, [saga_id])), None)


def log_of(using: str, saga_id: str) -> list[dict[str, Any]]:
    """What happened to a saga, in order."""
    query: LiteralString = """SELECT at::text, event, step, attempt, actor, reason FROM saga_log
        WHERE saga_id = %s ORDER BY id"""
    names = ("at", "event", "step", "attempt", "actor", "reason")
    return [dict(zip(names, row, strict=True)) for row in _rows(using, query, [saga_id])]


def payload_of(using: str, saga_id: str) -> dict[str, Any]:
    """The saga's data, which may be personal."""
    found = _rows(using, "SELECT payload::text FROM saga_state WHERE saga_id = %s", [saga_id])
    return next((json.loads(row[0]) for row in found), {})


def counts(using: str) -> dict[str, int]:
    """How many sagas there are in each state."""
    return dict(_rows(using, "SELECT status, count(*) FROM saga_state GROUP BY status ORDER BY status", []))


def _overview(row: tuple[Any, ...]) -> Overview:
    return Overview(
        saga_id=row[0],
        saga=row[1],
        version=row[2],
        context=row[3],
        aggregate=row[4],
        status=row[5],
        step=row[6],
        steps=row[7],
        attempt=row[8],
        age_seconds=round(row[9], 1),
        reason=row[10],
        why=row[11],
        completed=json.loads(row[12]),
        compensated=json.loads(row[13]),
    )


def _rows(using: str, query: LiteralString, values: Any) -> Iterator[Any]:
    with connections[using].cursor() as cursor:
        cursor.execute(query, values)
        yield from cursor.fetchall()
