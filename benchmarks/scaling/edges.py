"""Requests through one Envoy and through two, each under an agent of its own; and writes through PgBouncer."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.arena import SOURCE
from benchmarks.messaging.load import update_anywhere
from benchmarks.proxy.configurations import our_table
from benchmarks.proxy.contestants import upstream
from benchmarks.proxy.load import Load, read
from benchmarks.proxy.stage import Edge, our_proxy
from benchmarks.ratios import Samples
from benchmarks.scaling.layout import Layout, Meter

READERS = 64
WARM_SECONDS = 0.5


def proxies_round(layout: Layout, directory: Path, found: Samples, seconds: float) -> None:
    """The same readers on one Envoy, then spread over two."""
    _publish()
    with upstream(directory) as answering, ExitStack() as stack:
        edges: list[Edge] = []
        for count in (1, 2):
            environment = _environment(layout, answering)
            edges.append(stack.enter_context(our_proxy(directory / f"edge{count}", environment)))
            _read(edges, WARM_SECONDS)
            meter = Meter({"Envoy": [edge.envoy for edge in edges], "agent": [edge.agent for edge in edges]})
            loads = _read(edges, seconds)
            used, longest = meter.used(), max(load.seconds for load in loads)
            requests = sum(load.requests for load in loads)
            if not requests or any(load.errors for load in loads):
                raise RuntimeError(f"{count} Envoys answered {sum(load.errors for load in loads)} requests wrongly")
            name = f"{count} Envoy{'s' if count > 1 else ''}"
            found.add(f"{name}, requests/s", requests / longest)
            found.add(f"{name}, µs a request", used["Envoy"] / requests * 1e6)
            found.add(f"{name}, cores of an agent", used["agent"] / longest / count)


def pooler_round(layout: Layout, found: Samples, clients: int, seconds: float) -> None:
    """Captured single-row updates of many clients, directly and through the pooler; how many sessions those were."""
    arena = layout.arena
    for name, port in (("directly", arena.server.port), ("through PgBouncer", layout.pooler.port)):
        meter = Meter(layout.servers())
        with _emptied(layout):
            tps = update_anywhere(arena, SOURCE, clients, seconds, port=port)
        used = meter.used()
        found.add(f"{name}, tps", tps)
        for who in ("PostgreSQL", "PgBouncer"):
            found.add(f"{name}, µs of {who} a transaction", used[who] / (tps * seconds) * 1e6)
    with arena.connect(arena.shop) as conn:
        row = conn.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'").fetchone()
        found.add("through PgBouncer, sessions", float(str(row[0])) if row else 0.0)
    found.add("directly, sessions", clients)


def _read(edges: list[Edge], seconds: float) -> list[Load]:
    each = READERS // len(edges)
    with ThreadPoolExecutor(len(edges)) as pool:
        return list(pool.map(lambda edge: read(edge.port, connections=each, seconds=seconds), edges))


def _publish() -> None:
    from migration_tools.routing import publishing
    from migration_tools.routing.table import RoutingTable

    publishing.publish(
        lambda table: RoutingTable(version=table.version, contexts=our_table().contexts),
        author="benchmark",
        reason="eight contexts",
    )


def _environment(layout: Layout, answering: int) -> dict[str, str]:
    return {
        **os.environ,
        **layout.arena.environment(),
        "DJANGO_SETTINGS_MODULE": "benchmarks.proxy.settings",
        "STRANGLE_BENCH_OLD": f"127.0.0.1:{answering}",
        "STRANGLE_BENCH_NEW": f"127.0.0.1:{answering}",
    }


@contextmanager
def _emptied(layout: Layout) -> Iterator[None]:
    layout.arena.forget()
    yield
    layout.arena.forget()
