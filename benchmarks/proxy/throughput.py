"""Requests per CPU-second of each proxy, and what it adds to a lone reader's wait, in interleaved rounds."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.proxy.contestants import ASGI, BARE, HAPROXY, INSTALL, NGINX, OURS, contestants, upstream
from benchmarks.proxy.load import Load, read
from benchmarks.ratios import Ratio, Samples

BUSY = 64
WARM_SECONDS = 0.5
TO_BARE, TO_ASGI, LATENCY_TO_BARE = 0.95, 2.0, 1.25
#: Rows without a goal of their own stand in the table to be compared.
NO_GOAL = 0.0

Say = Callable[[str], None]


def throughput_rounds(directory: Path, rounds: int, seconds: float, say: Say) -> Samples:
    """Every proxy in turn, `rounds` times: first busy, then asked by one reader at a time."""
    found = Samples()
    with upstream(directory) as answering, contestants(directory, answering) as proxies:
        for name, remedy in INSTALL.items():
            if name not in proxies:
                say(f"{name} is not here and its row is left out; {remedy}")
        for each in proxies.values():
            read(each.port, connections=BUSY, seconds=min(WARM_SECONDS, seconds))
        for number in range(1, rounds + 1):
            say(f"throughput, round {number} of {rounds}: {', '.join(proxies)}")
            direct = _checked("no proxy", read(answering, connections=1, seconds=seconds / 2))
            for name, each in proxies.items():
                before = each.cpu_seconds()
                load = _checked(name, read(each.port, connections=BUSY, seconds=seconds))
                found.add(f"{name}: requests per CPU-second", load.requests / (each.cpu_seconds() - before))
                found.add(f"{name}: requests per second", load.requests / load.seconds)
                lone = _checked(name, read(each.port, connections=1, seconds=seconds / 2))
                found.add(f"{name}: added microseconds", (lone.median_seconds - direct.median_seconds) * 1e6)
    return found


def throughput_ratios(found: Samples) -> dict[str, Ratio]:
    """Our row against each of the others that were there."""
    goals = {BARE: TO_BARE, ASGI: TO_ASGI, NGINX: NO_GOAL, HAPROXY: NO_GOAL}
    table = {
        f"requests per CPU-second, to {name}": Ratio(
            measured=found[f"{OURS}: requests per CPU-second"],
            limit=found[f"{name}: requests per CPU-second"],
            goal=goal,
            better="higher",
            unit="req/CPU-s",
            note=f"{name}, same upstream" + ("" if goal else "; no goal, to compare"),
        )
        for name, goal in goals.items()
        if f"{name}: requests per CPU-second" in found
    }
    table["latency added to one reader"] = Ratio(
        measured=found[f"{OURS}: added microseconds"],
        limit=found[f"{BARE}: added microseconds"],
        goal=LATENCY_TO_BARE,
        better="lower",
        unit="µs",
        note=f"{BARE}; medians at one connection, less the upstream's own",
    )
    return table


def _checked(name: str, load: Load) -> Load:
    if load.errors or not load.requests:
        raise RuntimeError(f"{name} answered {load.errors} of {load.requests} requests wrongly; nothing to compare")
    return load
