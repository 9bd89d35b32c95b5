"""Read and write the state of sagas; every function runs in the caller's transaction."""

import json
import uuid
from dataclasses import dataclass
from typing import Any, LiteralString

from django.db import connections

from migration_tools.kernel.actors import actor
from migration_tools.sagas.decisions import Decision, Progress, Status
from migration_tools.sagas.definition import Saga

_READ: LiteralString = """SELECT saga_id::text, saga_type, version, context, aggregate_type, aggregate_id, current_step,
        status, attempt, payload::text, steps_completed::text, steps_compensated::text, reason, alarm, correlation_id
    FROM saga_state WHERE saga_id = %s"""
_LOCKED: LiteralString = _READ + " FOR NO KEY UPDATE"
_LOCKED_IF_DUE: LiteralString = (
    _READ + " AND wake_at <= clock_timestamp() AND status IN ('running', 'compensating') FOR NO KEY UPDATE SKIP LOCKED"
)


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A row of saga_state."""

    saga_id: str
    saga: str
    version: int
    context: str
    aggregate: tuple[str, str]
    progress: Progress
    payload: dict[str, Any]
    completed: list[str]
    compensated: list[str]
    reason: str
    correlation_id: str


def insert(
    using: str,
    saga: Saga,
    saga_id: uuid.UUID,
    aggregate: tuple[str, str],
    payload: dict[str, Any],
    correlation_id: str,
) -> bool:
    """Make the row of a new saga; False when there is one of that id already."""
    done = _execute(
        using,
        """INSERT INTO saga_state (saga_id, saga_type, version, context, aggregate_type, aggregate_id, current_step,
               max_steps, status, attempt, payload, steps_completed, steps_compensated, alarm_at, correlation_id)
           VALUES (%s, %s, %s, %s, %s, %s, 0, %s, 'running', 1, %s, '[]', '[]',
                   clock_timestamp() + make_interval(secs => %s), %s)
           ON CONFLICT DO NOTHING""",
        [
            saga_id,
            saga.name,
            saga.version,
            saga.belongs_to,
            *aggregate,
            len(saga.steps),
            json.dumps(payload),
            saga.alarm_after.total_seconds(),
            correlation_id,
        ],
    )
    return bool(done)


def lock(using: str, saga_id: str) -> Instance | None:
    """The saga's row, locked until the transaction ends; None when this service orchestrates no such saga."""
    return _read(using, _LOCKED, saga_id)


def lock_if_due(using: str, saga_id: str) -> Instance | None:
    """The same for one whose time has come and that nobody else works on."""
    return _read(using, _LOCKED_IF_DUE, saga_id)


def look(using: str, saga_id: str) -> Instance | None:
    """The saga's row as it is now, without a lock."""
    return _read(using, _READ, saga_id)


def _read(using: str, query: LiteralString, saga_id: str) -> Instance | None:
    with connections[using].cursor() as cursor:
        cursor.execute(query, [saga_id])
        row = cursor.fetchone()
    if row is None:
        return None
    return Instance(
        saga_id=row[0],
        saga=row[1],
        version=row[2],
        context=row[3],
        aggregate=(row[4], row[5]),
        progress=Progress(status=Status(row[7]), step=row[6], attempt=row[8], alarm=row[13]),
        payload=json.loads(row[9]),
        completed=json.loads(row[10]),
        compensated=json.loads(row[11]),
        reason=row[12],
        correlation_id=row[14],
    )


def write(using: str, saga_id: str, decision: Decision, *, payload: dict[str, Any], reason: str = "") -> None:
    """Store a transition; what was completed or undone is appended to its list by the database."""
    at = decision.progress
    _execute(
        using,
        """UPDATE saga_state SET current_step = %(step)s, status = %(status)s, attempt = %(attempt)s,
               alarm = %(alarm)s, payload = %(payload)s, updated_at = clock_timestamp(),
               reason = CASE WHEN %(reason)s = '' THEN reason ELSE %(reason)s END,
               wake_at = CASE WHEN %(wait)s::float IS NULL THEN NULL
                              ELSE clock_timestamp() + make_interval(secs => %(wait)s::float) END,
               steps_completed = CASE WHEN %(done)s = '' THEN steps_completed
                                      ELSE steps_completed || to_jsonb(%(done)s::text) END,
               steps_compensated = CASE WHEN %(undone)s = '' THEN steps_compensated
                                        ELSE steps_compensated || to_jsonb(%(undone)s::text) END
           WHERE saga_id = %(saga_id)s""",
        {
            "step": at.step,
            "status": at.status.value,
            "attempt": at.attempt,
            "alarm": at.alarm,
            "payload": json.dumps(payload),
            "reason": reason[:500],
            "wait": decision.wait,
            "done": decision.done,
            "undone": decision.undone,
            "saga_id": saga_id,
        },
    )


def postpone(using: str, saga_id: str, alarm: str, seconds: float) -> None:
    """Look at a saga later, and say why if it needs somebody; outside a transaction this commits at once."""
    _execute(
        using,
        """UPDATE saga_state SET alarm = COALESCE(NULLIF(%s, ''), alarm),
               wake_at = clock_timestamp() + make_interval(secs => %s)
           WHERE saga_id = %s AND wake_at <= clock_timestamp()""",
        [alarm[:500], seconds, saga_id],
    )


def note(using: str, saga_id: str, event: str, *, step: str = "", attempt: int = 0, reason: str = "") -> None:
    """Append to the saga's log."""
    _execute(
        using,
        "INSERT INTO saga_log (saga_id, event, step, attempt, actor, reason) VALUES (%s, %s, %s, %s, %s, %s)",
        [saga_id, event, step, attempt, actor(), reason[:500]],
    )


def _execute(using: str, query: LiteralString, params: Any) -> int:
    with connections[using].cursor() as cursor:
        cursor.execute(query, params)
        return int(cursor.rowcount)
