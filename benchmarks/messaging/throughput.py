"""From the outbox to the service's table while customers write flat out, beside the same writes alone."""

import threading
import time

from benchmarks.arena import TARGET, Arena
from benchmarks.measures import pipes
from benchmarks.messaging.load import Work, write_each_once
from benchmarks.messaging.processes import processes
from benchmarks.ratios import Samples

WARM = Work(clients=1, each=20)
PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.002


def throughput_round(arena: Arena, found: Samples, name: str, work: Work, broker: str, mark: int) -> None:
    """The writes alone, then by the feed, then by the broker; `found` has the seconds of each."""
    arena.forget()
    found.add(f"{name}, writes alone", write_each_once(arena, work, mark))
    for transport, url in (("feed", ""), ("RabbitMQ", broker)):
        mark += 1
        pipes.fill(arena)
        arena.vacuum()
        found.add(f"{name}, {transport}", _applied(arena, work, url, mark))
    arena.forget()
    arena.vacuum()


def _applied(arena: Arena, work: Work, broker: str, mark: int) -> float:
    """Seconds from the first write to the last one applied."""
    with processes(arena, broker=broker), arena.connect(arena.service) as service:

        def position() -> int:
            row = service.execute("SELECT position FROM strangle_inbox WHERE stream = 'bench'").fetchone()
            return int(str(row[0])) if row else 0

        def reach(goal: int) -> None:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while position() < goal:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{position()} of {goal} records are applied after {PATIENCE_SECONDS:g} s")
                threading.Event().wait(LOOK_SECONDS)

        write_each_once(arena, WARM, -mark)
        reach(WARM.rows)
        writing = write_each_once(arena, work, mark)
        ended = time.perf_counter()
        reach(WARM.rows + work.rows)
        seconds = writing + time.perf_counter() - ended
        row = service.execute(f"SELECT count(*) FROM {TARGET} WHERE customer_id = %s", [mark]).fetchone()
        if row != (work.rows,):
            raise RuntimeError(f"{row} of {work.rows} rows are in the service")
    return seconds
