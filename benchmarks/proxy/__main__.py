"""The command line of the proxy benchmark: `make bench-proxy ARGS="--seconds 3 --rounds 3 --cutovers 40"`."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.proxy import moves, throughput
from benchmarks.proxy.stage import stage
from benchmarks.ratios import Ratio, Samples
from benchmarks.report import finish, teller

PARTS = ("throughput", "flip", "hold")


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the file; exit status 0 whether the goals are met or not."""
    options = parser().parse_args(argv)
    parts = options.only or PARTS
    started = time.monotonic()
    ratios: dict[str, Ratio] = {}
    samples: dict[str, Samples] = {}

    say = teller(started)
    machine = describe_machine()
    # Short: the kernel limits the length of a socket's path.
    directory = Path(tempfile.mkdtemp(prefix="sx"))
    try:
        if "throughput" in parts:
            samples["throughput"] = throughput.throughput_rounds(directory, options.rounds, options.seconds, say)
            ratios |= throughput.throughput_ratios(samples["throughput"])
        if {"flip", "hold"} & set(parts):
            say("starting a PostgreSQL for the routing table, both sides and our proxy")
            with stage(directory) as scene:
                if "flip" in parts:
                    flipped = moves.flips(scene, options.flips, options.rounds, say)
                    samples["flip"] = flipped.samples
                    ratios |= moves.flip_ratios(flipped)
                if "hold" in parts:
                    held = moves.holds(scene, options.cutovers, options.rounds, say)
                    samples["hold"] = held.samples
                    ratios |= moves.hold_ratios(held)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    finish(
        options.output,
        f"proxy, median of {options.rounds} rounds; {machine['processor']}",
        started=started,
        ratios=ratios,
        samples=samples,
        machine=machine,
        rounds=options.rounds,
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """What the benchmark takes."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.proxy", description=__doc__)
    made.add_argument("--rounds", type=int, default=3, help="interleaved rounds whose median counts (default 3)")
    made.add_argument("--seconds", type=float, default=3.0, help="how long each proxy is asked in a round (default 3)")
    made.add_argument("--flips", type=int, default=30, help="flips of the writes in a round (default 30)")
    made.add_argument("--cutovers", type=int, default=40, help="cutovers with a hold, over all rounds (default 40)")
    made.add_argument("--only", action="append", choices=PARTS, help="measure this part only; may be given again")
    made.add_argument("--output", type=Path, default=Path("var/bench/proxy.json"), help="where the figures go")
    return made


if __name__ == "__main__":
    sys.exit(main())
