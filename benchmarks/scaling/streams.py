"""Events from the shop's outbox to the service's handler: one stream, the same with standbys, two streams."""

import time
from typing import Any

from benchmarks.messaging.events import HANDLED, PATIENCE_SECONDS, await_rows, publish_events
from benchmarks.messaging.processes import processes
from benchmarks.ratios import Samples
from benchmarks.scaling.layout import Layout, Meter

ONE, STANDBYS, TWO = "one stream", "one stream, two of each", "two streams"
# The streams, and how many relays and consumers each of them has.
LAYOUTS: dict[str, tuple[tuple[str, ...], int]] = {
    ONE: (("bench",), 1),
    STANDBYS: (("bench",), 2),
    TWO: (("bench", "bench_more"), 1),
}
KINDS = ("relay", "feed", "consumer")
LOOK_SECONDS = 0.05


def streams_round(layout: Layout, found: Samples, events: int) -> None:
    """So many events in each layout, however many streams they are spread over."""
    for name, (streams, each) in LAYOUTS.items():
        layout.arena.forget()
        _measure(layout, found, name, streams, each, events // len(streams))
    layout.arena.forget()


def _measure(layout: Layout, found: Samples, name: str, streams: tuple[str, ...], each: int, events: int) -> None:
    arena = layout.arena
    running = processes(arena, broker=layout.rabbit.url, streams=streams, each=each, more=layout.environment())
    with running as children, arena.connect(arena.shop) as shop, arena.connect(arena.service) as service:
        service.execute(f"TRUNCATE {HANDLED}")
        for stream in streams:
            publish_events(shop, stream, 1)
        await_rows(service, HANDLED, len(streams), look_seconds=LOOK_SECONDS)
        # Those that stand by have begun too.
        _await_sessions(shop, service, len(streams) * each)
        groups = {kind: [child.pid for who, child in children.items() if who.startswith(kind)] for kind in KINDS}
        meter, began = Meter({**groups, **layout.servers()}), time.perf_counter()
        for stream in streams:
            publish_events(shop, stream, events)
        await_rows(service, HANDLED, (events + 1) * len(streams), look_seconds=LOOK_SECONDS)
        count = events * len(streams)
        found.add(f"{name}, events/s", count / (time.perf_counter() - began))
        used = meter.used()
    for who, seconds in used.items():
        found.add(f"{name}, µs of the {who} an event", seconds / count * 1e6)
    found.add(f"{name}, µs an event", sum(used.values()) / count * 1e6)


def _await_sessions(shop: Any, service: Any, each: int) -> None:
    """Return when so many relays and consumers have a session of their own."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    relays = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'strangle:relay %'"
    consumers = """SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    while any(conn.execute(query).fetchone()[0] < each for conn, query in ((shop, relays), (service, consumers))):
        if time.monotonic() > deadline:
            raise RuntimeError(f"there are not {each} relays and consumers after {PATIENCE_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
