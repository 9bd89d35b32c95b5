"""How fast the relay reads: the outbox into batches that a transport can send, beside plain SELECTs into Python."""

import time

from benchmarks.arena import SOURCE, Arena
from benchmarks.ratios import Samples

MARK = 20_000_000


def reading_round(arena: Arena, found: Samples) -> None:
    """Every order is updated by one statement each 100 rows; then its records are numbered and read."""
    from migration_tools.capture.projector import RelationProjector
    from migration_tools.conf import settings
    from migration_tools.messaging.relay import tick
    from migration_tools.messaging.stream import read_batch
    from migration_tools.stores.postgres import connect

    arena.forget()
    with arena.connect(arena.shop) as conn:
        for first in range(0, arena.rows, 100):
            conn.execute(f"UPDATE {SOURCE} SET customer_id = %s WHERE id > %s AND id <= %s", [MARK, first, first + 100])
        began = time.perf_counter()
        mapped = conn.execute(arena.query).fetchall()
        found.add("SELECT of the mapped rows", time.perf_counter() - began)
    with connect("default", "benchmark") as conn:
        began = time.perf_counter()
        tick(conn, "bench", RelationProjector())
        numbered = time.perf_counter()
        position, cursor = 0, conn.cursor()
        while (batch := read_batch(cursor, "bench", origin="shop", after=position, limit=settings().BATCH_ROWS)).rows:
            position = batch.last
        ended = time.perf_counter()
        records = conn.execute("SELECT * FROM strangle_stream WHERE stream = 'bench'").fetchall()
        found.add("SELECT of the records", time.perf_counter() - ended)
    if not len(mapped) == len(records) == position == arena.rows:
        raise RuntimeError(f"{arena.rows} orders, {len(mapped)} mapped, {len(records)} records, read to {position}")
    found.add("relay, reading", ended - numbered)
    found.add("relay, numbering and reading", ended - began)
    arena.forget()
    arena.vacuum()
