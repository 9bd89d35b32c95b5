"""Commit → applied over the feed at a steady rate: `python -m benchmarks.messaging.latency --rate 500 --seconds 20`.

Relay, feed and consumer are processes of their own. Both times of a row are PostgreSQL's: the commit timestamps of the
transaction that changed it in the shop and of the one that applied it in the service. One server has both databases,
so there is one clock. Beside it stands how long the writers' commits took, and the CPU seconds each process used.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.arena import OPTIONS, SOURCE, TARGET, Arena
from migration_tools.testing.postgres import EmbeddedPostgres, free_port

WRITERS = 4
WARM_SECONDS = 2.0
QUIET_SECONDS = 60.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

_LATENCIES = f"SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM {{}} WHERE id = ANY (%s)"  # noqa: F541


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@contextmanager
def processes(arena: Arena, sleeps: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Relay, feed and consumer; ended with the block."""
    port = free_port()
    env = {
        **arena.environment(),
        "DJANGO_SETTINGS_MODULE": "benchmarks.messaging.settings",
        "STRANGLE_BENCH_TOKEN": secrets.token_urlsafe(),
        "STRANGLE_BENCH_FEED": f"http://127.0.0.1:{port}/strangle/feed/",
        "STRANGLE_BENCH_SLEEPS": sleeps,
    }
    gunicorn = ("-m", "gunicorn", "benchmarks.messaging.wsgi:application", "--threads", "4", "-b", f"127.0.0.1:{port}")
    argv: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        "feed": ((*gunicorn, "--log-level", "error", "--keep-alive", "60"), {}),
        "relay": (("-m", "django", "strangle_relay", "bench"), {}),
        "consumer": (("-m", "django", "strangle_consume", "bench"), {"STRANGLE_BENCH_SIDE": "service"}),
    }
    with ExitStack() as stack:
        running = {}
        for name, (args, more) in argv.items():
            child = subprocess.Popen([sys.executable, *args], env={**env, **more})
            stack.callback(child.wait, 20)
            stack.callback(child.terminate)
            running[name] = child
        yield running


def cpu_seconds(pid: int) -> float:
    """What a process and its children have used so far."""
    total = 0.0
    for each in (pid, *_children(pid)):
        parts = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(parts[11]) + int(parts[12])) / TICKS_PER_SECOND
    return total


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Writers:
    """Update one order after the other, each once, at a steady rate."""

    def __init__(self, arena: Arena, rate: float):
        self.arena = arena
        self.rate = rate
        self.next = 1
        self.commits: list[float] = []
        self._lock = threading.Lock()

    def write(self, seconds: float) -> list[int]:
        """Write for so long; returns the ids."""
        first, began = self.next, time.monotonic()
        threads = [threading.Thread(target=self._run, args=(began, first, seconds)) for _ in range(WRITERS)]
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
                conn.execute(f"UPDATE {SOURCE} SET note = 'written' WHERE id = %s", [mine])
                self.commits.append(time.perf_counter() - at)


def measure(arena: Arena, rate: float, seconds: float, sleeps: str) -> dict[str, Any]:
    """One round; latencies in milliseconds, CPU as a share of one core."""
    with (
        processes(arena, sleeps) as running,
        arena.connect(arena.shop) as shop,
        arena.connect(arena.service) as service,
    ):
        writers = Writers(arena, rate)
        _await_applied(service, writers.write(WARM_SECONDS))
        writers.commits.clear()
        before = {name: cpu_seconds(child.pid) for name, child in running.items()}
        ids = writers.write(seconds)
        used = {name: (cpu_seconds(child.pid) - before[name]) / seconds for name, child in running.items()}
        applied = _await_applied(service, ids)
        committed = dict(shop.execute(_LATENCIES.format(SOURCE), [ids]).fetchall())
        ticks = shop.execute("SELECT count(*) FROM strangle_tick").fetchone()
        quiet_before = {name: cpu_seconds(child.pid) for name, child in running.items()}
        threading.Event().wait(3.0)
        idle = {name: (cpu_seconds(child.pid) - quiet_before[name]) / 3.0 for name, child in running.items()}
    took = [(applied[i] - committed[i]) * 1000 for i in ids]
    return {
        "writes": len(ids),
        "ticks": ticks[0] if ticks else 0,
        "p50_ms": round(percentile(took, 0.5), 2),
        "p99_ms": round(percentile(took, 0.99), 2),
        "max_ms": round(max(took), 2),
        "commit_p50_ms": round(percentile(writers.commits, 0.5) * 1000, 2),
        "cpu_share": {name: round(value, 3) for name, value in used.items()},
        "idle_cpu_share": {name: round(value, 3) for name, value in idle.items()},
    }


def _await_applied(service: Any, ids: list[int]) -> dict[int, float]:
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        found: dict[int, float] = dict(service.execute(_LATENCIES.format(TARGET), [ids]).fetchall())
        if len(found) == len(ids):
            return found
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(found)} of {len(ids)} rows were applied within {QUIET_SECONDS:g} s")
        threading.Event().wait(0.2)


def main() -> None:
    """Print one JSON object a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sleeps", choices=["auto", "always", "never"], default="auto")
    options = parser.parse_args()
    rows = int(options.rate * (options.seconds + WARM_SECONDS)) + 10
    server = {**OPTIONS, "shared_buffers": "256MB", "track_commit_timestamp": "on", "max_prepared_transactions": "0"}
    with EmbeddedPostgres(version=18, options=server) as cluster:
        for number in range(options.rounds):
            arena = Arena(cluster, rows, suffix=f"_{number}")
            subprocess.run(
                [sys.executable, "-c", _MAKE, str(rows), f"_{number}"],
                env={**arena.environment(), "STRANGLE_BENCH_PASSWORD": cluster.password},
                check=True,
            )
            print(json.dumps(measure(arena, options.rate, options.seconds, options.sleeps)), flush=True)


# Django reads its settings once a process, so each round's databases are made by another one.
_MAKE = """
import os, sys
from types import SimpleNamespace
from benchmarks.arena import Arena
port, password = os.environ["STRANGLE_BENCH_PORT"], os.environ["STRANGLE_BENCH_PASSWORD"]
def dsn(dbname): return f"host=127.0.0.1 port={port} dbname={dbname} user=postgres password={password}"
Arena(SimpleNamespace(port=port, password=password, dsn=dsn), int(sys.argv[1]), sys.argv[2]).make()
"""

if __name__ == "__main__":
    main()
