"""The stage of a cutover: both sides, our Envoy under its agent and a table in PostgreSQL, customers who write."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg

from benchmarks.proxy.writers import Written
from migration_tools.testing.postgres import EmbeddedPostgres, free_port

CONTEXT = "orders"
START_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A running Envoy of ours and the agent that started it, which is not its parent."""

    port: int
    agent: int
    envoy: int


@dataclass(kw_only=True)
class Stage:
    """What is running: our Envoy's port and the process of both sides."""

    port: int
    sides: "subprocess.Popen[str]"

    def own(self, owner: str) -> float:
        """Give the context to a side, to `nobody` or to `both`; returns when, by the monotonic clock."""
        said, _, at = self._ask(owner).partition(" ")
        if said != owner:
            raise RuntimeError(f"the sides answered {said!r} when told {owner!r}")
        return float(at)

    def taken(self) -> list[str]:
        """The ids of all bodies that either side has taken since the last time, twice what was taken twice."""
        found = json.loads(self._ask("report"))
        return [*found["old"], *found["new"]]

    def _ask(self, line: str) -> str:
        _stream(self.sides.stdin).write(f"{line}\n")
        _stream(self.sides.stdin).flush()
        return _stream(self.sides.stdout).readline().strip()

    @contextmanager
    def writing(self, rate: float) -> Iterator[list[Written]]:
        """Customers write so many orders a second during the block; what became of them is known after it."""
        command = [sys.executable, "-m", "benchmarks.proxy.writers", str(self.port), str(rate)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        found: list[Written] = []
        try:
            yield found
        finally:
            output, _ = process.communicate(timeout=120)
        found += [tuple(json.loads(line)) for line in output.splitlines()]


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Start everything; the old side owns the context and all its routes lead there."""
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres())
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as conn:
            conn.execute("CREATE DATABASE shop")
        sides = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.proxy.sides"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stack.callback(_end, sides)
        old, new = _stream(sides.stdout).readline().split()
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "benchmarks.proxy.settings",
            "STRANGLE_BENCH_PORT": str(server.port),
            "STRANGLE_BENCH_PASSWORD": server.password,
            "STRANGLE_BENCH_OLD": f"127.0.0.1:{old}",
            "STRANGLE_BENCH_NEW": f"127.0.0.1:{new}",
        }
        _prepare_table()
        edge = stack.enter_context(our_proxy(directory / "stage", os.environ))
        yield Stage(port=edge.port, sides=sides)


@contextmanager
def our_proxy(directory: Path, env: Mapping[str, str]) -> Iterator[Edge]:
    """One more Envoy under an agent of its own, of the table in force."""
    from migration_tools.routing import publishing

    port, known = free_port(), {row.proxy for row in publishing.live_proxies() if row.applied_version}
    listen = ("--listen", f"127.0.0.1:{port}", "--directory", str(directory))
    agent = subprocess.Popen([sys.executable, "-m", "django", "strangle_proxy", "-v", "0", "run", *listen], env=env)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not {row.proxy for row in publishing.live_proxies() if row.applied_version} - known:
            if agent.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("our proxy did not start; its message is above")
            time.sleep(0.02)
        envoy = json.loads((directory / "envoy.pid").read_text())["pid"]
        yield Edge(port=port, agent=agent.pid, envoy=int(envoy))
    finally:
        _end(agent)


def _prepare_table() -> None:
    import django

    django.setup()
    from django.core.management import call_command

    from migration_tools.routing import publishing
    from migration_tools.routing.table import ensure_context

    call_command("migrate", verbosity=0)
    publishing.publish(
        lambda table: ensure_context(table, CONTEXT, ["/api/orders/"], "service"), author="benchmark", reason="start"
    )


def _end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        process.wait(60)


def _stream(found: "IO[str] | None") -> "IO[str]":
    if found is None:
        raise RuntimeError("a pipe was asked for and is not there")
    return found
