"""django-outbox-pattern beside us: the same number of events, from its outbox to its consumer's committed effect.

It is installed on demand, by pip, into a virtual environment of its own under var/bench; nothing of it is in our lock
file. It speaks STOMP, so RabbitMQ's plugin for that carries it, in the same server that carries us.
"""

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.arena import Arena
from benchmarks.messaging.broker import BenchRabbit
from benchmarks.messaging.events import HANDLED, LOOK_SECONDS, PATIENCE_SECONDS, await_rows, publish_events
from benchmarks.messaging.peer.drive import DESTINATION
from benchmarks.messaging.processes import END_SECONDS, processes
from benchmarks.ratios import Samples

REQUIREMENT = "django-outbox-pattern==3.2.1"
DRIVER = "psycopg[binary]"
FIRST_SECONDS = 10.0
HOME = Path("var/bench/django-outbox-pattern")
DATABASE = "peer"


def peer_python() -> Path | None:
    """The interpreter that has the peer; installs it the first time; None, with a word why, when that fails."""
    python = HOME / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
    ask = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        REQUIREMENT,
        "psycopg[binary]",
    ]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{REQUIREMENT} is left out, pip cannot install it: {last}", file=sys.stderr)
        return None
    return python.absolute()


def our_round(arena: Arena, found: Samples, broker: BenchRabbit, events: int) -> None:
    """Seconds from the commit of all events until the last one's handler has committed."""
    arena.forget()
    with (
        processes(arena, broker=broker.url),
        arena.connect(arena.shop) as shop,
        arena.connect(arena.service) as service,
    ):
        service.execute(f"TRUNCATE {HANDLED}")
        publish_events(shop, "bench", 1)
        await_rows(service, HANDLED, 1)
        began = time.perf_counter()
        publish_events(shop, "bench", events)
        await_rows(service, HANDLED, 1 + events)
        found.add("our events", time.perf_counter() - began)
    arena.forget()


def peer_round(arena: Arena, python: Path, found: Samples, broker: BenchRabbit, events: int) -> None:
    """Seconds from its first handled event to its last one: its pause between looks at the outbox is not counted."""
    with arena.connect("postgres") as conn:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(DATABASE)))
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.messaging.peer.settings",
        "STRANGLE_BENCH_PORT": str(arena.server.port),
        "STRANGLE_BENCH_PASSWORD": arena.server.password,
        "STRANGLE_BENCH_PEER": DATABASE,
        "STRANGLE_BENCH_STOMP": str(broker.stomp_port),
        "STRANGLE_BENCH_STOMP_PASSWORD": broker.password,
    }
    django = [str(python), "-m", "django"]
    subprocess.run([*django, "migrate", "--verbosity", "0"], env=env, check=True)
    handler = "benchmarks.messaging.peer.drive.handle"
    with ExitStack() as stack, arena.connect(DATABASE) as conn:
        for argv in (["subscribe", handler, DESTINATION, "bench.peer"], ["publish"]):
            child = subprocess.Popen([*django, *argv], env=env, stderr=subprocess.DEVNULL)
            stack.callback(child.wait, END_SECONDS)
            stack.callback(child.kill)
        # What is sent before its subscriber's queue stands is lost: one after another, until one arrives.
        first, deadline = 0, time.monotonic() + PATIENCE_SECONDS
        while not first and time.monotonic() < deadline:
            _publish(python, env, 1)
            first = _arrived(conn, 1, FIRST_SECONDS)
        _publish(python, env, events)
        if _arrived(conn, first + events, PATIENCE_SECONDS) < first + events:
            raise RuntimeError(f"of {events} events of django-outbox-pattern some did not arrive")
        row = conn.execute(
            "SELECT extract(epoch FROM max(added) - min(added))::float8 FROM "
            "(SELECT added FROM received ORDER BY added OFFSET %s) r",
            [first],
        ).fetchone()
        found.add("django-outbox-pattern", float(str(row[0])) if row else 0.0)


def _arrived(conn: "psycopg.Connection[tuple[object, ...]]", wanted: int, seconds: float) -> int:
    """How many have arrived, as soon as so many have, or after the time."""
    deadline = time.monotonic() + seconds
    while True:
        row = conn.execute("SELECT count(*) FROM received").fetchone()
        count = int(str(row[0])) if row else 0
        if count >= wanted or time.monotonic() > deadline:
            return count
        threading.Event().wait(LOOK_SECONDS)


def _publish(python: Path, env: dict[str, str], events: int) -> None:
    subprocess.run([str(python), "-m", "benchmarks.messaging.peer.drive", str(events)], env=env, check=True)
