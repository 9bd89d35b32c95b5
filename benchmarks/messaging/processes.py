"""Relay, feed and consumer as processes of their own, as in production; with a broker's URL it carries the batches."""

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product

from benchmarks.arena import Arena
from migration_tools.testing.postgres import free_port

END_SECONDS = 20


@contextmanager
def processes(
    arena: Arena,
    *,
    broker: str = "",
    sleeps: str = "auto",
    streams: Sequence[str] = ("bench",),
    each: int = 1,
    more: Mapping[str, str] | None = None,
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The feed (gunicorn), and so many relays and consumers of each stream; ended with the block.

    The names of what is running begin with what it is: "feed", "relay", "consumer".
    """
    port = free_port()
    env = {
        **arena.environment(),
        "DJANGO_SETTINGS_MODULE": "benchmarks.messaging.settings",
        "STRANGLE_BENCH_TOKEN": secrets.token_urlsafe(),
        "STRANGLE_BENCH_FEED": f"http://127.0.0.1:{port}/strangle/feed/",
        "STRANGLE_BENCH_SLEEPS": sleeps,
        "STRANGLE_BENCH_BROKER": broker,
        **(more or {}),
    }
    gunicorn = ("-m", "gunicorn", "benchmarks.messaging.wsgi:application", "--threads", "4", "-b", f"127.0.0.1:{port}")
    argv: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        "feed": ((*gunicorn, "--log-level", "error", "--keep-alive", "60"), {}),
    }
    for stream, number in product(streams, range(1, each + 1)):
        name = f" {stream} {number}" if len(streams) * each > 1 else ""
        argv[f"relay{name}"] = (("-m", "django", "strangle_relay", stream), {})
        argv[f"consumer{name}"] = (("-m", "django", "strangle_consume", stream), {"STRANGLE_BENCH_SIDE": "service"})
    with ExitStack() as stack:
        running = {}
        for name, (args, own) in argv.items():
            child = subprocess.Popen([sys.executable, "-W", "ignore", *args], env={**env, **own})
            stack.callback(child.wait, END_SECONDS)
            stack.callback(child.terminate)
            running[name] = child
        yield running
