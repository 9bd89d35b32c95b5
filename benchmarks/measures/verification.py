"""Our verification over a pair of snapshots, and reladiff on the same tables with the columns it can compare."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.arena import SOURCE, TARGET, Arena
from benchmarks.measures.ends import open_ends
from benchmarks.playbook import COMMON
from migration_tools.stores.postgres import connect
from migration_tools.transfer.copy import whole_relations
from migration_tools.verification.compare import compare_relation
from migration_tools.verification.pairing import paired_snapshots

DIFFERING = 100


def ours(*, only_common: bool = False) -> tuple[float, int]:
    """(seconds, differences found) of the exact comparison, mapping pushed down, the stop included."""
    columns = list(COMMON.values()) if only_common else None
    started = time.perf_counter()
    with (
        open_ends() as ends,
        connect("service", "benchmark") as receiver_reader,
        paired_snapshots(ends, receiver_reader) as pair,
    ):
        (relation,) = whole_relations(ends.sender, "bench")
        result = compare_relation(pair, relation, columns=columns)
    return time.perf_counter() - started, len(result.differences) + result.truncated


def peer(arena: Arena) -> tuple[float, int]:
    """(seconds, keys found) of reladiff's hash comparison; both tables in different databases, as it is made for."""
    import reladiff  # here, so that the memory of ours is measured without it

    logging.getLogger("hashdiff_tables").setLevel(logging.ERROR)  # it remarks upon text columns each time
    started = time.perf_counter()
    sides = [
        reladiff.connect_to_table(
            arena.address(database),
            table,
            "id",
            thread_count=2,
            extra_columns=tuple(columns),
        )
        for database, table, columns in (
            (arena.shop, SOURCE, COMMON.keys()),
            (arena.service, TARGET, COMMON.values()),
        )
    ]
    try:
        with reladiff.diff_tables(*sides, max_threadpool_size=4) as found:
            keys = {row[0] for _, row in found}
    finally:
        for side in sides:
            side.database.close()
    return time.perf_counter() - started, len(keys)


@contextmanager
def differing(arena: Arena) -> Iterator[int]:
    """The service with so many rows changed, evenly over the table; they are put right after the block."""
    step = max(arena.rows // DIFFERING, 1)
    change = f"UPDATE {TARGET} SET customer_id = -customer_id WHERE id %% %s = 0 AND id <= %s"
    with arena.connect(arena.service) as conn:
        conn.execute("SELECT set_config('strangle.applying', 'patch', false)")
        count = conn.execute(change, [step, step * DIFFERING]).rowcount
        try:
            yield count
        finally:
            conn.execute(change, [step, step * DIFFERING])
