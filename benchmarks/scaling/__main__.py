"""The command line of the scaling benchmark: `make bench-scaling ARGS="--events 12000 --rows 200000 --rounds 3"`."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.ratios import Ratio, Samples
from benchmarks.report import finish, teller
from benchmarks.scaling import backfill, edges, rows, streams
from benchmarks.scaling.layout import Layout, layout

PARTS = ("streams", "backfill", "proxies", "pooler")


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the file; exit status 0 whether the goals are met or not."""
    options = parser().parse_args(argv)
    started = time.monotonic()
    say = teller(started)
    machine = {**describe_machine(), "postgresql": 18, "cores": os.cpu_count()}
    say(f"starting a PostgreSQL, a PgBouncer and a RabbitMQ; seeding {options.rows:,} orders")
    # Short: the kernel limits the length of a socket's path.
    directory = Path(tempfile.mkdtemp(prefix="sx"))
    try:
        with layout(options.rows) as made:
            samples, ratios = measure(made, directory, options, say)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    finish(
        options.output,
        f"scaling, median of {options.rounds} rounds; {machine['processor']}",
        started=started,
        ratios=ratios,
        samples=samples,
        machine=machine,
        rows=options.rows,
        events=options.events,
        rounds=options.rounds,
    )
    return 0


def measure(
    made: Layout, directory: Path, options: argparse.Namespace, say: Callable[[str], None]
) -> tuple[dict[str, Samples], dict[str, Ratio]]:
    """Every part in every round, one after the other; the medians as ratios."""
    parts = [part for part in PARTS if part in (options.only or PARTS)]
    samples = {part: Samples() for part in parts}
    for number in range(1, options.rounds + 1):
        for part in parts:
            say(f"{part}, round {number} of {options.rounds}")
            found = samples[part]
            if part == "streams":
                streams.streams_round(made, found, options.events)
            elif part == "backfill":
                backfill.backfill_round(made, found)
            elif part == "proxies":
                edges.proxies_round(made, directory, found, options.seconds)
            else:
                edges.pooler_round(made, found, options.clients, options.seconds)
    ratios: dict[str, Ratio] = {}
    if "streams" in parts:
        ratios |= rows.stream_ratios(samples["streams"])
    if "backfill" in parts:
        ratios |= rows.backfill_ratios(samples["backfill"])
    if "proxies" in parts:
        ratios |= rows.proxy_ratios(samples["proxies"])
    if "pooler" in parts:
        ratios |= rows.pooler_ratios(samples["pooler"], options.clients)
    return samples, ratios


def parser() -> argparse.ArgumentParser:
    """What the benchmark takes."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    made.add_argument("--events", type=int, default=12_000, help="events in each layout (default 12,000)")
    made.add_argument("--rows", type=int, default=200_000, help="orders that are copied (default 200,000)")
    made.add_argument("--rounds", type=int, default=3, help="interleaved rounds whose median counts (default 3)")
    made.add_argument("--seconds", type=float, default=3.0, help="how long proxies and pooler are busy (default 3)")
    made.add_argument("--clients", type=int, default=16, help="clients that write through the pooler (default 16)")
    made.add_argument("--only", action="append", choices=PARTS, help="measure this part only; may be given again")
    made.add_argument("--output", type=Path, default=Path("var/bench/scaling.json"), help="where the figures go")
    return made


if __name__ == "__main__":
    sys.exit(main())
