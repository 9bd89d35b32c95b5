"""What one request, task or command left in one database: records of its streams, parked events, sagas; redacted."""

import datetime as dt
import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from migration_tools.messaging.groups import group_of
from migration_tools.messaging.redaction import hidden
from migration_tools.overview.looking import rows

#: How far back a chain is looked for: the stream has no index by correlation, which every write would pay for.
SEARCHED = 200_000
SHOWN = 200
#: How far back the newest records of chains are looked for.
LATELY = 5_000


@dataclass(frozen=True, kw_only=True)
class Link:
    """One thing of a chain: a captured row, an event, a parked event, a saga; `shape` has no values.

    `side` is "monolith" or "service", `place` what the database is called, `note` what is to be said of it.
    """

    side: str
    place: str
    stream: str
    position: int
    kind: str
    name: str
    key: str
    correlation: str
    causation: str
    at: dt.datetime
    shape: Any
    event_id: str
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        return cls(**{**document, "at": dt.datetime.fromisoformat(document["at"])})


@dataclass(frozen=True, kw_only=True)
class Place:
    """A database of the migration: the monolith's, or a service's, which is called as its alias is."""

    side: str
    name: str
    alias: str


_COLUMNS = """s.position, s.kind, COALESCE(s.event_type, r.target_table, ''), COALESCE(s.aggregate_id,
    array_to_string(s.key, '/'), ''), s.correlation_id, s.causation_id, s.occurred_at, s.payload::text, s.event_id::text
    FROM strangle_stream s LEFT JOIN strangle_relation r ON r.id = s.relation"""
_STREAMS = "SELECT stream FROM strangle_stream_identity ORDER BY stream"
_HEAD = "SELECT base + records FROM strangle_tick WHERE stream = %s ORDER BY number DESC LIMIT 1"
_PARKED = """SELECT stream, position, envelope::text, reason, parked_at FROM strangle_dead_letter
    WHERE envelope->>'correlationId' = %s ORDER BY stream, position LIMIT %s"""
_SAGAS = """SELECT context, saga_id::text, saga_type, status, current_step, max_steps, created_at FROM saga_state
    WHERE correlation_id = %s ORDER BY created_at LIMIT %s"""
KINDS = {"r": "row", "p": "patch", "g": "gone", "e": "event"}


def read_chain(conn: Any, place: Place, correlation: str) -> list[Link]:
    """Everything of a chain in a database: of each stream among its last SEARCHED records, by stream and position."""
    found = []
    for (stream,) in rows(conn, _STREAMS):
        query = (
            f"SELECT {_COLUMNS} WHERE s.stream = %s AND s.position > %s AND s.correlation_id = %s"
            f" ORDER BY s.position LIMIT {SHOWN}"
        )
        since = _head(conn, stream) - SEARCHED
        found += [_link(place, stream, row) for row in rows(conn, query, [stream, since, correlation])]
    found += [_parked(place, correlation, row) for row in rows(conn, _PARKED, [correlation, SHOWN])]
    if rows(conn, "SELECT to_regclass('saga_state') IS NOT NULL")[0][0]:
        found += [_saga(place, correlation, row) for row in rows(conn, _SAGAS, [correlation, SHOWN])]
    return found


def read_latest(conn: Any, place: Place, stream: str, limit: int = 40) -> list[Link]:
    """The newest records of a side's stream that belong to a chain, the newest first."""
    query = (
        f"SELECT {_COLUMNS} WHERE s.stream = %s AND s.position > %s AND s.correlation_id IS NOT NULL"
        " ORDER BY s.position DESC LIMIT %s"
    )
    return [_link(place, stream, row) for row in rows(conn, query, [stream, _head(conn, stream) - LATELY, limit])]


def _head(conn: Any, stream: str) -> int:
    found = rows(conn, _HEAD, [stream])
    return int(found[0][0]) if found else 0


def _link(place: Place, stream: str, row: Any) -> Link:
    # As text: Django's connections and ours read jsonb differently.
    payload = json.loads(row[7]) if row[7] is not None else None
    return Link(
        side=place.side,
        place=place.name,
        stream=stream,
        position=row[0],
        kind=KINDS.get(row[1], row[1]),
        name=row[2],
        key=row[3],
        correlation=row[4] or "",
        causation=row[5] or "",
        at=row[6],
        shape=hidden(payload),
        event_id=row[8] or "",
    )


def _parked(place: Place, correlation: str, row: Any) -> Link:
    inbox, position, envelope, reason, at = row
    event = json.loads(envelope)
    stream, group = group_of(inbox)
    return Link(
        side=place.side,
        place=place.name,
        stream=stream,
        position=position,
        kind="parked",
        name=event.get("eventType", ""),
        key=event.get("aggregateId", ""),
        correlation=correlation,
        # What is parked came of its own event.
        causation=event.get("eventId", ""),
        at=at,
        shape=None,
        event_id="",
        note=f"group {group}: {reason}" if group else reason,
    )


def _saga(place: Place, correlation: str, row: Any) -> Link:
    context, saga_id, kind, status, step, steps, at = row
    return Link(
        side=place.side,
        place=place.name,
        stream=context,
        position=0,
        kind="saga",
        name=kind,
        key=saga_id,
        correlation=correlation,
        causation="",
        at=at,
        shape=None,
        event_id="",
        note=f"{status}, step {min(step + 1, steps)} of {steps}",
    )
