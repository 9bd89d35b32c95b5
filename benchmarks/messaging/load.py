"""Writers: pgbench, whose clients cost next to nothing, for throughput; threads at a steady rate for latency."""

import os
import re
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arena import SOURCE, Arena

STEADY_WRITERS = 4
PGBENCH_SECONDS = 300
# Clients go on through ids of their own, so every row is written once and every write is a record of the stream.
EACH_ONCE = """\\set n :n + 1
\\set first (:client_id * :each + :n - 1) * :size
\\set last :first + :size
UPDATE {table} SET customer_id = :mark WHERE id > :first AND id <= :last;
"""
ANYWHERE = """\\set id random(1, :rows)
UPDATE {table} SET note = 'written', updated_at = now() WHERE id = :id;
"""


@dataclass(frozen=True, kw_only=True)
class Work:
    """`clients` that each make `each` transactions of `size` rows."""

    clients: int
    each: int
    size: int = 1

    @property
    def rows(self) -> int:
        """How many rows are written, each once."""
        return self.clients * self.each * self.size


def write_each_once(arena: Arena, work: Work, mark: int) -> float:
    """Write the rows with `mark` as their customer, as fast as it goes; seconds without making the connections."""
    variables = {"n": 0, "mark": mark, "each": work.each, "size": work.size}
    tps = _pgbench(arena, EACH_ONCE.format(table=SOURCE), work.clients, ["-t", str(work.each)], variables)
    return work.clients * work.each / tps


def update_anywhere(arena: Arena, table: str, clients: int, seconds: float, *, port: int = 0) -> float:
    """Transactions a second of single-row updates by key; at a pooler's `port` with plain queries, as Django sends."""
    limit = ["-T", str(max(round(seconds), 1))]
    return _pgbench(arena, ANYWHERE.format(table=table), clients, limit, {"rows": arena.rows}, port)


def _pgbench(
    arena: Arena, script: str, clients: int, limit: list[str], variables: dict[str, int], port: int = 0
) -> float:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "script.sql"
        file.write_text(script)
        where = ["-h", "127.0.0.1", "-p", str(port or arena.server.port), "-U", "postgres"]
        given = [word for name, value in variables.items() for word in ("-D", f"{name}={value}")]
        argv = [
            str(arena.programs / "pgbench"),
            "-n",
            "-M",
            "simple" if port else "prepared",
            "-f",
            str(file),
            "-c",
            str(clients),
            *limit,
        ]
        done = subprocess.run(
            [*argv, *given, *where, arena.shop],
            env={**os.environ, "PGPASSWORD": arena.server.password},
            capture_output=True,
            text=True,
            check=False,
            timeout=PGBENCH_SECONDS,
        )
    found = re.search(r"tps = ([0-9.]+) \(without initial connection time\)", done.stdout)
    if done.returncode:
        raise RuntimeError(f"pgbench ended with {done.returncode}: {done.stderr[-500:]}")
    if found is None:
        raise RuntimeError("pgbench got no transaction done in its time; this machine is too busy to measure anything")
    return float(found[1])


class SteadyWriters:
    """Update one order after the other, each once, at a steady rate, with `mark` as its note."""

    def __init__(self, arena: Arena, rate: float, mark: str):
        self.arena = arena
        self.mark = mark
        self.rate = rate
        self.next = 1
        self.commits: list[float] = []
        self._lock = threading.Lock()

    def write(self, seconds: float) -> list[int]:
        """Write for so long; returns the ids."""
        first, began = self.next, time.monotonic()
        threads = [threading.Thread(target=self._run, args=(began, first, seconds)) for _ in range(STEADY_WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return list(range(first, self.next))

    def _run(self, began: float, first: int, seconds: float) -> None:
        pause = threading.Event()
        with self.arena.connect(self.arena.shop) as conn:
            while True:
                with self._lock:
                    mine = self.next
                    due = began + (mine - first) / self.rate
                    if due > began + seconds or mine > self.arena.rows:
                        return
                    self.next += 1
                pause.wait(max(due - time.monotonic(), 0.0))
                at = time.perf_counter()
                conn.execute(f"UPDATE {SOURCE} SET note = %s WHERE id = %s", [self.mark, mine])
                self.commits.append(time.perf_counter() - at)
