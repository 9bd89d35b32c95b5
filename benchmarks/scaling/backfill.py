"""The copy with none, one and two workers of Celery beside the caller, each a process with connections of its own."""

import subprocess
import sys
import time
from contextlib import ExitStack, nullcontext
from typing import Any

from benchmarks.arena import TARGET
from benchmarks.messaging.processes import END_SECONDS
from benchmarks.ratios import Samples
from benchmarks.scaling.layout import Layout, Meter

MOST = 2
START_SECONDS = 60.0


def backfill_round(layout: Layout, found: Samples) -> None:
    """Copy everything with so many workers, counting up."""
    arena = layout.arena
    arena.vacuum()
    with ExitStack() as stack:
        workers: list[int] = []
        for count in range(MOST + 1):
            if count:
                child = _worker(layout, count)
                stack.callback(child.wait, END_SECONDS)
                stack.callback(child.terminate)
                workers.append(child.pid)
            name = f"{count} Celery workers"
            seconds, used = _copy(layout, workers)
            found.add(f"{name}, rows/s", arena.rows / seconds)
            for who, each in used.items():
                found.add(f"{name}, µs of the {who} a row", each / arena.rows * 1e6)
            found.add(f"{name}, µs a row", sum(used.values()) / arena.rows * 1e6)
    arena.empty()


def _copy(layout: Layout, workers: list[int]) -> tuple[float, dict[str, float]]:
    from benchmarks.measures.workers import copy_beside
    from migration_tools.transfer.celery import celery_workers

    meter, own = Meter({"workers": workers, **layout.servers()}), time.process_time()
    crew: Any = celery_workers("default", "service", len(workers)) if workers else nullcontext(None)
    seconds = copy_beside(layout.arena, crew)
    used = {"caller": time.process_time() - own, **meter.used()}
    with layout.arena.connect(layout.arena.service) as conn:
        if conn.execute(f"SELECT count(*) FROM {TARGET}").fetchone() != (layout.arena.rows,):
            raise RuntimeError("not every row was copied")
        if workers and conn.execute("SELECT bool_and(done) FROM strangle_copy_lease").fetchone() != (True,):
            raise RuntimeError("the workers did not take what they were given; a row of one caller is not theirs")
    return seconds, used


def _worker(layout: Layout, number: int) -> "subprocess.Popen[bytes]":
    """One more worker, once all answer."""
    from migration_tools.transfer.celery import QUEUE, make_app

    words = ("worker", "-n", f"w{number}@bench", "-P", "solo", "-Q", QUEUE, "-l", "ERROR", "--without-gossip",
             "--without-mingle")  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "celery", "-A", "migration_tools.transfer.celery_app", *words],
        env={
            **layout.arena.environment(),
            **layout.environment(),
            "DJANGO_SETTINGS_MODULE": "benchmarks.messaging.settings",
        },
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + START_SECONDS
    while len(make_app().control.ping(timeout=0.3)) < number:
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("a worker of Celery did not start; its message is above")
    return child
