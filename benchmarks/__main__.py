"""The command line of the transfer benchmark: `make bench-transfer ARGS="--rows 1000000 --rounds 3"`."""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.arena import Arena, open_server
from benchmarks.machine import describe_machine
from benchmarks.ratios import Ratio, Samples
from benchmarks.report import finish, teller

PARTS = ("copy", "verification", "sync", "memory")


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the file; exit status 0 whether the goals are met or not."""
    options = parser().parse_args(argv)
    parts = options.only or PARTS
    started = time.monotonic()
    ratios: dict[str, Ratio] = {}
    rounds: dict[str, Samples] = {}

    say = teller(started)
    say(f"starting a PostgreSQL of its own; seeding {options.rows:,} orders")
    with open_server() as server:
        arena = Arena(server, options.rows)
        arena.make()
        from benchmarks import rounds as measuring
        from benchmarks import speed_table

        if "copy" in parts:
            rounds["copy"] = measuring.copy_rounds(arena, options.rounds, say)
            ratios |= speed_table.copy_ratios(rounds["copy"], options.rows)
        if "verification" in parts:
            rounds["verification"] = measuring.verification_rounds(arena, options.rounds, say)
            ratios |= speed_table.verification_ratios(rounds["verification"], options.rows)
        if "sync" in parts:
            rounds["sync"] = measuring.sync_rounds(arena, options.rounds, say)
            ratios |= speed_table.sync_ratios(rounds["sync"])
        if "memory" in parts:
            arenas = {}
            for rows in (options.memory_rows or options.rows, 10 * (options.memory_rows or options.rows)):
                say(f"seeding {rows:,} orders for the memory of each job")
                arenas[rows] = Arena(server, rows, suffix=f"_{rows}")
                arenas[rows].make()
            ratios |= speed_table.memory_ratios(measuring.memory(arenas, say))
    machine = {**describe_machine(), "postgresql": 18}
    finish(
        options.output,
        f"{options.rows:,} rows, median of {options.rounds} rounds; {machine['processor']}",
        started=started,
        ratios=ratios,
        samples=rounds,
        machine=machine,
        rows=options.rows,
        rounds=options.rounds,
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """What the benchmark takes."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("--rows", type=int, default=1_000_000, help="orders in the shop (default 1,000,000)")
    made.add_argument("--rounds", type=int, default=3, help="interleaved rounds whose median counts (default 3)")
    made.add_argument("--memory-rows", type=int, help="orders for the memory of each job, beside 10 times as many")
    made.add_argument("--only", action="append", choices=PARTS, help="measure this part only; may be given again")
    made.add_argument("--output", type=Path, default=Path("var/bench/transfer.json"), help="where the figures go")
    return made


if __name__ == "__main__":
    sys.exit(main())
