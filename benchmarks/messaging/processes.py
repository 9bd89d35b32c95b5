"""Relay, feed and consumer as processes of their own, as in production; with a broker's URL it carries the batches."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.arena import Arena
from migration_tools.testing.postgres import free_port

END_SECONDS = 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@contextmanager
def processes(arena: Arena, *, broker: str = "", sleeps: str = "auto") -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Relay, feed (gunicorn) and consumer; ended with the block."""
    port = free_port()
    env = {
        **arena.environment(),
        "DJANGO_SETTINGS_MODULE": "benchmarks.messaging.settings",
        "STRANGLE_BENCH_TOKEN": secrets.token_urlsafe(),
        "STRANGLE_BENCH_FEED": f"http://127.0.0.1:{port}/strangle/feed/",
        "STRANGLE_BENCH_SLEEPS": sleeps,
        "STRANGLE_BENCH_BROKER": broker,
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
            child = subprocess.Popen([sys.executable, "-W", "ignore", *args], env={**env, **more})
            stack.callback(child.wait, END_SECONDS)
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
