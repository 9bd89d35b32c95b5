"""The command line of the messaging benchmark: `make bench-messaging ARGS="--rows 32000 --seconds 10 --rounds 3"`."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.arena import OPTIONS, Arena
from benchmarks.machine import describe_machine
from benchmarks.messaging import answers, capture, latency, peers, reading, rows, throughput
from benchmarks.messaging.broker import BenchRabbit
from benchmarks.messaging.load import Work
from benchmarks.ratios import Ratio, Samples
from benchmarks.report import finish, teller
from migration_tools.testing.postgres import EmbeddedPostgres

PARTS = ("capture", "reading", "throughput", "latency", "peers", "answers")
SERVER = {**OPTIONS, "track_commit_timestamp": "on", "max_prepared_transactions": "0", "wal_level": "logical"}
BULK_CLIENTS, BULK_SIZE = 2, 1_000
MARKS_A_ROUND = 100


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the file; exit status 0 whether the goals are met or not."""
    options = parser().parse_args(argv)
    started = time.monotonic()

    say = teller(started)
    machine = {**describe_machine(), "postgresql": 18}
    parts = [part for part in PARTS if part in (options.only or PARTS)]
    samples: dict[str, Samples] = {}
    ratios: dict[str, Ratio] = {}
    if stream := [part for part in parts if part != "answers"]:
        say(f"starting a PostgreSQL and a RabbitMQ; seeding {options.rows:,} orders")
        with EmbeddedPostgres(options=SERVER) as server, BenchRabbit() as broker:
            arena = Arena(server, options.rows)
            arena.make()
            samples, ratios = measure(arena, broker, stream, options, say)
    if "answers" in parts:
        samples["answers"] = Samples()
        with answers.customers(options.rows, say) as (asking, superuser):
            for number in range(1, options.rounds + 1):
                say(f"answers, round {number} of {options.rounds}")
                sizes = {"asked": answers.ASKED, "purchases": answers.PURCHASES}
                answers.answers_round(asking, superuser, samples["answers"], **sizes)
        ratios |= answers.answers_ratios(samples["answers"])
    finish(
        options.output,
        f"messaging, median of {options.rounds} rounds; {machine['processor']}",
        started=started,
        ratios=ratios,
        samples=samples,
        machine=machine,
        rows=options.rows,
        rounds=options.rounds,
    )
    return 0


def measure(
    arena: Arena, broker: BenchRabbit, parts: list[str], options: argparse.Namespace, say: Callable[[str], None]
) -> tuple[dict[str, Samples], dict[str, Ratio]]:
    """Every part in every round, one after the other; the medians as ratios."""
    samples = {part: Samples() for part in parts}
    works = {
        "one row a transaction": Work(clients=options.clients, each=max(arena.rows // options.clients, 1)),
        "1,000 rows a transaction": Work(
            clients=BULK_CLIENTS, each=max(arena.rows // BULK_SIZE // BULK_CLIENTS, 1), size=BULK_SIZE
        ),
    }
    brokers = {"feed": "", "RabbitMQ": broker.url}
    peer = peers.peer_python() if "peers" in parts else None
    if "capture" in parts:
        capture.prepare(arena)
    for number in range(1, options.rounds + 1):
        for part in parts:
            say(f"{part}, round {number} of {options.rounds}")
            found = samples[part]
            if part == "capture":
                capture.capture_round(arena, found, options.clients, options.write_seconds)
            elif part == "reading":
                reading.reading_round(arena, found)
            elif part == "throughput":
                for place, (name, work) in enumerate(works.items()):
                    mark = (number * len(works) + place) * MARKS_A_ROUND
                    throughput.throughput_round(arena, found, name, work, broker.url, mark)
            elif part == "latency":
                for name, url in brokers.items():
                    seconds = options.seconds
                    latency.latency_round(arena, found, name, rate=options.rate, seconds=seconds, broker=url)
            else:
                peers.our_round(arena, found, broker, options.events)
                if peer is not None:
                    peers.peer_round(arena, peer, found, broker, options.events)
    ratios: dict[str, Ratio] = {}
    if "capture" in parts:
        ratios |= rows.capture_ratios(samples["capture"], options.clients)
    if "reading" in parts:
        ratios |= rows.reading_ratios(samples["reading"], arena.rows)
    if "throughput" in parts:
        for name, work in works.items():
            ratios |= rows.throughput_ratios(samples["throughput"], name, work)
    if "latency" in parts:
        for name in brokers:
            ratios |= rows.latency_ratios(samples["latency"], name, options.rate)
    if "peers" in parts:
        ratios |= rows.peer_ratios(samples["peers"], options.events)
    return samples, ratios


def parser() -> argparse.ArgumentParser:
    """What the benchmark takes."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.messaging", description=__doc__)
    made.add_argument("--rows", type=int, default=32_000, help="orders in the shop (default 32,000)")
    made.add_argument("--rounds", type=int, default=3, help="interleaved rounds whose median counts (default 3)")
    made.add_argument("--clients", type=int, default=16, help="clients that write (default 16)")
    made.add_argument("--write-seconds", type=float, default=5.0, help="how long they write for capture (default 5)")
    made.add_argument("--rate", type=float, default=500.0, help="transactions a second for the latency (default 500)")
    made.add_argument("--seconds", type=float, default=10.0, help="how long these are written (default 10)")
    made.add_argument("--events", type=int, default=3_000, help="events beside the peer (default 3,000)")
    made.add_argument("--only", action="append", choices=PARTS, help="measure this part only; may be given again")
    made.add_argument("--output", type=Path, default=Path("var/bench/messaging.json"), help="where the figures go")
    return made


if __name__ == "__main__":
    sys.exit(main())
