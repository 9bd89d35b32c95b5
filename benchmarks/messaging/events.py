"""Domain events in the shop's outbox, and the wait until as many are handled."""

import threading
import time

import psycopg
from psycopg import sql

PATIENCE_SECONDS = 180.0
LOOK_SECONDS = 0.005
HANDLED = "bench_handled"

_EVENTS = """
    INSERT INTO strangle_outbox (stream, kind, event_id, event_type, event_version, aggregate_type, aggregate_id,
        payload, metadata)
    SELECT %s, 'e', gen_random_uuid(), 'bench.placed', 1, 'order', n::text,
        jsonb_build_object('order_id', n, 'total', '19.90'), '{}' FROM generate_series(1, %s) n"""


def publish_events(conn: "psycopg.Connection[tuple[object, ...]]", stream: str, count: int) -> None:
    """Put so many events of a stream into the outbox, in one statement."""
    conn.execute(_EVENTS, [stream, count])


def await_rows(
    conn: "psycopg.Connection[tuple[object, ...]]", table: str, rows: int, *, look_seconds: float = LOOK_SECONDS
) -> None:
    """Return when the table has exactly so many rows."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    while (found := conn.execute(query).fetchone()) != (rows,):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{table} has {found} of {rows} rows after {PATIENCE_SECONDS:g} s")
        threading.Event().wait(look_seconds)
