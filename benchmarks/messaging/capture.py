"""What capture adds to writes: the same updates of the captured table and of its twin without triggers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.arena import SOURCE, Arena
from benchmarks.messaging.load import update_anywhere
from benchmarks.ratios import Samples

PLAIN = "plain_order"
BARE = "bare_order"
# As little as a trigger can write down: which row, in which transaction; no fence, no order of keys, no retention.
BARE_TRIGGER = f"""
    CREATE TABLE bare_outbox (seq bigserial, xid xid8 NOT NULL DEFAULT pg_current_xact_id(), stream text, key text);
    CREATE INDEX ON bare_outbox (stream, xid);
    CREATE FUNCTION bare() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN INSERT INTO bare_outbox (stream, key) VALUES (''bench'', NEW.id); RETURN NULL; END';
    CREATE TRIGGER bare AFTER UPDATE ON {BARE} FOR EACH ROW EXECUTE FUNCTION bare();
"""
BULK_ROWS = 10_000
RELOAD_SECONDS = 10.0


def prepare(arena: Arena) -> None:
    """Make the twins, with the same rows and indexes: one without triggers, one with a bare one."""
    with arena.connect(arena.shop) as conn:
        for twin in (PLAIN, BARE):
            conn.execute(f"CREATE TABLE {twin} (LIKE {SOURCE} INCLUDING ALL)")
            conn.execute(f"INSERT INTO {twin} SELECT * FROM {SOURCE}")
        conn.execute(BARE_TRIGGER)
        _tidy(arena)


def capture_round(arena: Arena, found: Samples, clients: int, seconds: float) -> None:
    """Single-row updates by many clients, then one update of 10,000 rows; by turns with and without capture."""
    single = partial(_single_rows, arena, found, clients, seconds)
    single("tps")
    with _durable(arena):
        single("durable tps")
    arena.capture("log")
    found.add("tps, from the log", update_anywhere(arena, SOURCE, clients, seconds))
    arena.capture("triggers")
    _tidy(arena)
    for name, table in (("no capture", PLAIN), ("capture", SOURCE)):
        found.add(f"bulk update, {name}", _bulk(arena, table))
        _tidy(arena)


def _single_rows(arena: Arena, found: Samples, clients: int, seconds: float, quantity: str) -> None:
    for name, table in (("no capture", PLAIN), ("bare trigger", BARE), ("capture", SOURCE)):
        found.add(f"{quantity}, {name}", update_anywhere(arena, table, clients, seconds))
        _tidy(arena)


@contextmanager
def _durable(arena: Arena) -> Iterator[None]:
    """Commits wait for the disk during the block, as in production."""
    _set_fsync(arena, "on")
    try:
        yield
    finally:
        _set_fsync(arena, "off")


def _set_fsync(arena: Arena, to: str) -> None:
    with arena.connect(arena.shop) as conn:
        conn.execute(f"ALTER SYSTEM SET fsync = {to}")
        conn.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + RELOAD_SECONDS
        while conn.execute("SHOW fsync").fetchone() != (to,):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server did not read its settings within {RELOAD_SECONDS:g} s")
            time.sleep(0.01)


def _bulk(arena: Arena, table: str) -> float:
    with arena.connect(arena.shop) as conn:
        began = time.perf_counter()
        conn.execute(f"UPDATE {table} SET status = 'paid', updated_at = clock_timestamp() WHERE id <= {BULK_ROWS}")
        return time.perf_counter() - began


def _tidy(arena: Arena) -> None:
    """All tables without dead rows, the outboxes empty."""
    arena.forget()
    with arena.connect(arena.shop) as conn:
        conn.execute("TRUNCATE bare_outbox")
        for table in (PLAIN, BARE, SOURCE):
            conn.execute(f"VACUUM (ANALYZE) {table}")
