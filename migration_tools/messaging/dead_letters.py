"""Events that could not be handled, parked by key so that the rest of the stream goes on."""

import json

from migration_tools.messaging.envelope import Envelope
from migration_tools.stores.postgres import Connection


def is_parked(conn: Connection, event: Envelope) -> bool:
    """Whether an earlier event of the same aggregate waits, so that this one must wait behind it."""
    row = conn.execute(
        "SELECT 1 FROM strangle_dead_letter WHERE stream = %s AND aggregate_type = %s AND aggregate_id = %s LIMIT 1",
        [event.stream, event.aggregate_type, event.aggregate_id],
    ).fetchone()
    return row is not None


def park(conn: Connection, event: Envelope, reason: str) -> None:
    """Put the event aside in the running transaction; once per position."""
    conn.execute(
        """INSERT INTO strangle_dead_letter (stream, position, aggregate_type, aggregate_id, envelope, reason)
           VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (stream, position) DO NOTHING""",
        [
            event.stream,
            event.position,
            event.aggregate_type,
            event.aggregate_id,
            json.dumps(event.to_json()),
            reason[:500],
        ],
    )


def count(conn: Connection, stream: str) -> int:
    """How many events of a stream wait."""
    row = conn.execute("SELECT count(*) FROM strangle_dead_letter WHERE stream = %s", [stream]).fetchone()
    return int(row[0]) if row else 0
