"""What one request, task or command caused: records of a stream with its correlation id, redacted."""

import json
from dataclasses import dataclass
from typing import Any

from migration_tools.messaging.redaction import hidden
from migration_tools.stores.postgres import Connection

#: How far back a chain is looked for: the stream has no index by correlation, which every write would pay for.
SEARCHED = 200_000
SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class Link:
    """One record of a chain: a captured row or an event."""

    side: str
    position: int
    kind: str
    name: str
    key: str
    correlation: str
    causation: str
    at: Any
    shape: Any
    event_id: str


_COLUMNS = """s.position, s.kind, COALESCE(s.event_type, r.target_table, ''), COALESCE(s.aggregate_id,
    array_to_string(s.key, '/'), ''), s.correlation_id, s.causation_id, s.occurred_at, s.payload::text, s.event_id::text
    FROM strangle_stream s LEFT JOIN strangle_relation r ON r.id = s.relation"""
KINDS = {"r": "row", "p": "patch", "g": "gone", "e": "event"}


def read_chain(conn: Any, stream: str, side: str, correlation: str) -> list[Link]:
    """Everything of a chain among the last SEARCHED records of a side's stream, in the stream's order."""
    rows = _execute(
        conn,
        f"SELECT {_COLUMNS} WHERE s.stream = %s AND s.position > %s AND s.correlation_id = %s"
        f" ORDER BY s.position LIMIT {SHOWN}",
        [stream, _head(conn, stream) - SEARCHED, correlation],
    )
    return [_link(side, row) for row in rows]


def read_latest(conn: Any, stream: str, side: str, limit: int = 40) -> list[Link]:
    """The newest records of a side's stream that belong to a chain, the newest first."""
    rows = _execute(
        conn,
        f"SELECT {_COLUMNS} WHERE s.stream = %s AND s.position > %s AND s.correlation_id IS NOT NULL"
        " ORDER BY s.position DESC LIMIT %s",
        [stream, _head(conn, stream) - 5_000, limit],
    )
    return [_link(side, row) for row in rows]


def _head(conn: Connection, stream: str) -> int:
    rows = _execute(
        conn, "SELECT base + records FROM strangle_tick WHERE stream = %s ORDER BY number DESC LIMIT 1", [stream]
    )
    return int(rows[0][0]) if rows else 0


def _execute(conn: Any, query: str, params: list[Any]) -> list[Any]:
    with conn.cursor() as cursor:
        cursor.execute(query, params)
        return list(cursor.fetchall())


def _link(side: str, row: Any) -> Link:
    # As text: Django's connections and ours read jsonb differently.
    payload = json.loads(row[7]) if row[7] is not None else None
    return Link(
        side=side,
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
