"""Sync apply in batches of 1,000, and the limit: the same upsert of the same rows inside the database."""

import time
from collections.abc import Iterator

from benchmarks.arena import TARGET, Arena
from migration_tools.messaging.batch import Batch, RelationHead, RowRecord
from migration_tools.messaging.inbox import apply_batch
from migration_tools.messaging.stream import read_heads
from migration_tools.stores.postgres import connect, sql
from migration_tools.transfer.copy import whole_relations
from migration_tools.transfer.sync import TableWriter

BATCH = 1_000
STAGED = "bench_staged"


def prepare(arena: Arena) -> None:
    """Stage all mapped rows, typed, in the service's own database: what the limit upserts from."""
    from benchmarks.measures.pipes import pipe

    arena.empty()
    with arena.connect(arena.service) as conn:
        conn.execute(f"DROP TABLE IF EXISTS {STAGED}")
        conn.execute(f"CREATE TABLE {STAGED} (LIKE {TARGET})")
        pipe(arena, arena.query, STAGED, "binary")
        conn.execute(f"CREATE INDEX ON {STAGED} (id)")
        conn.execute(f"VACUUM (ANALYZE) {STAGED}")


def half_full(arena: Arena) -> None:
    """Every second row is there in an older state, so that half of the upsert inserts and half updates."""
    arena.empty()
    names = ", ".join(arena.columns)
    values = names.replace("state", "'placed'").replace("modified_at", "'2020-01-01'")
    with arena.connect(arena.service) as conn:
        conn.execute("SELECT set_config('strangle.applying', 'patch', false)")
        conn.execute(f"INSERT INTO {TARGET} ({names}) SELECT {values} FROM {STAGED} WHERE id % 2 = 0")
        conn.execute(f"VACUUM (ANALYZE) {TARGET}")


def inside(arena: Arena, rows: int) -> float:
    """INSERT … SELECT … ON CONFLICT DO UPDATE from the staged rows, a transaction a batch."""
    half_full(arena)
    names = [sql.Identifier(name) for name in arena.columns]
    free = [sql.Identifier(name) for name in arena.columns if name != "id"]
    statement = sql.SQL(
        "INSERT INTO {table} AS t ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {staged} WHERE id > %s "
        "AND id <= %s ON CONFLICT (id) DO UPDATE SET {sets} WHERE ({old}) IS DISTINCT FROM ({new})"
    ).format(
        table=sql.Identifier(TARGET),
        staged=sql.Identifier(STAGED),
        names=sql.SQL(", ").join(names),
        sets=sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(name) for name in free),
        old=sql.SQL(", ").join(sql.SQL("t.{}").format(name) for name in free),
        new=sql.SQL(", ").join(sql.SQL("EXCLUDED.{}").format(name) for name in free),
    )
    with connect("service", "benchmark") as conn:
        conn.execute("SELECT set_config('strangle.applying', 'row', false)")
        started = time.perf_counter()
        for first in range(0, rows, BATCH):
            conn.execute(statement, [first, min(first + BATCH, rows)])
        return time.perf_counter() - started


def apply(arena: Arena, rows: int) -> float:
    """The inbox's apply of the same rows as they come out of a transport: text values, position, histogram."""
    half_full(arena)
    return apply_here(rows)


def apply_here(rows: int) -> float:
    """The same on the service as it is; reading the batches is not counted."""
    writer = TableWriter()
    seconds = 0.0
    for batch in _batches(rows):
        started = time.perf_counter()
        apply_batch(batch, writer, using="service")
        seconds += time.perf_counter() - started
    return seconds


def _batches(rows: int) -> Iterator[Batch]:
    """Batches as the feed would make them, read from the relation a batch at a time."""
    with connect("default", "benchmark") as conn:
        (relation,) = whole_relations(conn, "bench")
        heads: dict[int, RelationHead] = read_heads(conn.cursor(), {relation.number})
        texts = sql.SQL(", ").join(sql.SQL("r.{}::text").format(sql.Identifier(name)) for name in relation.columns)
        query = sql.SQL("SELECT {} FROM ({}) r WHERE r.k0 > %s AND r.k0 <= %s ORDER BY r.k0").format(
            texts, sql.SQL(relation.query.replace("%", "%%"))
        )
        now = time.time()
        for first in range(0, rows, BATCH):
            found = conn.execute(query, [first, min(first + BATCH, rows)]).fetchall()
            last = first + len(found)
            yield Batch(
                stream="bench",
                origin="shop",
                first=first,
                last=last,
                head=rows,
                relations=heads,
                rows=[
                    RowRecord(
                        position=position,
                        kind="r",
                        relation=relation.number,
                        key=(values[0],),
                        values=tuple(values),
                        occurred=now,
                    )
                    for position, values in enumerate(found, first + 1)
                ],
            )
