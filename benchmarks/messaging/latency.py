"""From commit to applied: how long after its commit a write is in the service, at a steady rate.

A row's latency is the difference of two commit timestamps of PostgreSQL (`track_commit_timestamp`), of the transaction
that wrote it in the shop and of the one that applied it in the service. One server holds both databases, so there is
one clock. Beside it stands how long the writers' commits took, and the CPU seconds each process used.
"""

import secrets
import threading
import time
from typing import Any

from benchmarks.arena import SOURCE, TARGET, Arena
from benchmarks.machine import cpu_seconds
from benchmarks.measures import pipes
from benchmarks.messaging.load import SteadyWriters
from benchmarks.messaging.processes import processes
from benchmarks.ratios import Samples

WARM_SECONDS = 2.0
IDLE_SECONDS = 2.0
QUIET_SECONDS = 60.0

_COMMITTED = "SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM {} WHERE id = ANY (%s)"


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def latency_round(
    arena: Arena, found: Samples, name: str, *, rate: float, seconds: float, broker: str = "", sleeps: str = "auto"
) -> None:
    """One round; milliseconds, and the share of a core that each process used."""
    pipes.fill(arena)
    arena.vacuum()
    with (
        processes(arena, broker=broker, sleeps=sleeps) as running,
        arena.connect(arena.shop) as shop,
        arena.connect(arena.service) as service,
    ):
        writers = SteadyWriters(arena, rate, secrets.token_hex(4))
        _await_applied(service, writers.mark, writers.write(min(WARM_SECONDS, seconds)))
        writers.commits.clear()
        before = {each: cpu_seconds(child.pid) for each, child in running.items()}
        ids = writers.write(seconds)
        for each, child in running.items():
            found.add(f"{name}, cores of the {each}", (cpu_seconds(child.pid) - before[each]) / seconds)
        applied = _await_applied(service, writers.mark, ids)
        committed = {row[0]: float(str(row[1])) for row in shop.execute(_COMMITTED.format(SOURCE), [ids])}
        before = {each: cpu_seconds(child.pid) for each, child in running.items()}
        threading.Event().wait(min(IDLE_SECONDS, seconds))
        for each, child in running.items():
            used = (cpu_seconds(child.pid) - before[each]) / min(IDLE_SECONDS, seconds)
            found.add(f"{name}, cores of the idle {each}", used)
    took = [(applied[each] - committed[each]) * 1000 for each in ids]
    for share in (50, 99):
        found.add(f"{name}, p{share}", percentile(took, share / 100))
        found.add(f"{name}, commit p{share}", percentile(writers.commits, share / 100) * 1000)


def _await_applied(service: Any, mark: str, ids: list[int]) -> dict[int, float]:
    """When each row was applied, once all are."""
    deadline = time.monotonic() + QUIET_SECONDS
    query = _COMMITTED.format(TARGET) + " AND remark = %s"
    while True:
        found: dict[int, float] = dict(service.execute(query, [ids, mark]).fetchall())
        if len(found) == len(ids):
            return found
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(found)} of {len(ids)} rows were applied within {QUIET_SECONDS:g} s")
        threading.Event().wait(0.2)
