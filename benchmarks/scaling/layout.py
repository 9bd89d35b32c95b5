"""The layout of many machines on this one: PgBouncer before PostgreSQL, RabbitMQ between, everything a process."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.arena import OPTIONS, Arena
from benchmarks.machine import cpu_seconds
from migration_tools.testing.brokers import EmbeddedRabbit
from migration_tools.testing.poolers import EmbeddedPgBouncer
from migration_tools.testing.postgres import EmbeddedPostgres

POOL = 4


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The servers that all processes share."""

    arena: Arena
    rabbit: EmbeddedRabbit
    pooler: EmbeddedPgBouncer

    def environment(self) -> dict[str, str]:
        """What puts a process behind the pooler, with the way past it for those that need a session."""
        return {
            "STRANGLE_BENCH_PORT": str(self.pooler.port),
            "STRANGLE_BENCH_DIRECT": str(self.arena.server.port),
            "STRANGLE_BENCH_BROKER": self.rabbit.url,
        }

    def servers(self) -> dict[str, list[int]]:
        """Their processes, for a Meter."""
        return {
            "PostgreSQL": [self.arena.server.pid],
            "RabbitMQ": [self.rabbit.pid],
            "PgBouncer": [self.pooler.pid],
        }


@contextmanager
def layout(rows: int) -> Iterator[Layout]:
    """Servers with a shop of so many orders; gone after the block."""
    with EmbeddedPostgres(options=OPTIONS) as server, EmbeddedRabbit() as rabbit:
        roles = {"postgres": server.password}
        with EmbeddedPgBouncer(server.port, roles, size=POOL) as pooler:
            # Read when Django's settings are, which `make` does.
            os.environ["STRANGLE_BENCH_BACKFILL_BROKER"] = rabbit.url
            arena = Arena(server, rows)
            arena.make()
            yield Layout(arena=arena, rabbit=rabbit, pooler=pooler)


class Meter:
    """CPU seconds of groups of processes since it was made."""

    def __init__(self, pids: Mapping[str, list[int]]) -> None:
        self._pids = pids
        self._before = self._read()

    def used(self) -> dict[str, float]:
        """By group."""
        return {name: now - self._before[name] for name, now in self._read().items()}

    def _read(self) -> dict[str, float]:
        return {name: sum(map(cpu_seconds, pids)) for name, pids in self._pids.items()}
