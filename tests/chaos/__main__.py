"""Random cells of the fault matrix with second faults, as long as asked: `make chaos RUNS=200 SEED=1`.

Each run prints the seed that repeats it alone (`make chaos RUNS=1 SEED=…`). At the first loss the exit status is 1 and
the databases, the logs of every process and the customers' ledger are kept in var/chaos/.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from migration_tools.testing.brokers import EmbeddedBroker, EmbeddedRabbit, EmbeddedRedis
from tests.chaos import crossroads, storm
from tests.chaos.cells import Cell, all_cells
from tests.chaos.ledger import Ledger
from tests.conftest import ROOT

KINDS: dict[str, type[EmbeddedBroker]] = {"redis": EmbeddedRedis, "rabbitmq": EmbeddedRabbit}


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 if nothing was lost, 1 at the first loss, 2 for a cell that does not exist."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="how many runs (RUNS)")
    parser.add_argument("--seed", type=int, default=None, help="seed of the first run, counted up (SEED)")
    parser.add_argument("--cell", default="", help="only this cell, or those whose names hold the word (CELL)")
    parser.add_argument("--minutes", type=float, default=None, help="stop after this time, whatever is left (MINUTES)")
    parser.add_argument("--transports", nargs="+", choices=["feed", *KINDS], default=["feed", "redis"])
    options = parser.parse_args(arguments)
    chosen = [cell for cell in all_cells() if options.cell in cell.name]
    chosen = [cell for cell in chosen if cell.name == options.cell] or chosen
    if not chosen:
        print(f"no cell's name holds {options.cell!r}; see docs/reference/fault-matrix.md", file=sys.stderr)
        return 2
    first = options.seed if options.seed is not None else int(time.time())
    place = _fresh_place()
    console = Console(stderr=True)
    with ExitStack() as stack:
        roads = stack.enter_context(crossroads.opened(place))
        brokers = _brokers(options.transports)
        plans = _plans(range(first, first + options.runs), chosen if options.cell else [], tuple(brokers) or ("feed",))
        status = _run_all(roads, plans, brokers, options, console)
        if status:
            # The databases stay as they are: stopped, not destroyed.
            roads.server.stop()
            shutil.copytree(roads.server.directory, place / "kept", dirs_exist_ok=True)
    if not status:
        shutil.rmtree(place, ignore_errors=True)
    return status


def _run_all(
    roads: crossroads.Crossroads,
    plans: Iterator[storm.Plan],
    brokers: dict[str, type[EmbeddedBroker]],
    options: argparse.Namespace,
    console: Console,
) -> int:
    done: list[tuple[storm.Plan, storm.Run, Ledger]] = []
    began = time.monotonic()
    columns = (TextColumn("chaos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("chaos", total=options.runs)
        for plan in plans:
            if options.minutes and time.monotonic() - began > options.minutes * 60:
                break
            started = time.monotonic()
            print(f"seed {plan.seed}: {plan}", flush=True)
            try:
                run, ledger = storm.run(roads, plan, brokers.get(plan.transport))
            except BaseException as error:
                _keep(roads.directory, plan, error)
                _summarise(done, console)
                print(
                    f"seed {plan.seed}: FAILED after {time.monotonic() - started:.1f} s: {str(error)[:4000]}\n"
                    f"kept in {roads.directory.relative_to(ROOT)}; again: make chaos RUNS=1 SEED={plan.seed}"
                    + (f" CELL={options.cell}" if options.cell else ""),
                    flush=True,
                )
                return 1
            done.append((plan, run, ledger))
            told = ", ".join(f"{count} {what}" for what, count in sorted(ledger.acknowledged.items()))
            print(f"seed {plan.seed}: ok in {time.monotonic() - started:.1f} s; exits {run.exits}; {told}", flush=True)
            progress.advance(bar)
    _summarise(done, console)
    return 0


def _plans(seeds: range, cells: list[Cell], transports: tuple[str, ...]) -> Iterator[storm.Plan]:
    for number, seed in enumerate(seeds):
        yield storm.plan(seed, cells[number % len(cells)] if cells else None, transports=transports)


def _brokers(wanted: list[str]) -> dict[str, type[EmbeddedBroker]]:
    """The brokers that this machine has; every run starts one of its own, for messages of another run are not its."""
    found = {}
    for name in wanted:
        if name in KINDS:
            try:
                KINDS[name]().destroy()
                found[name] = KINDS[name]
            except RuntimeError as error:
                print(f"without {name}: {error}", file=sys.stderr)
    return found


def _fresh_place() -> Path:
    place = ROOT / "var" / "chaos" / time.strftime("%Y%m%d-%H%M%S")
    place.mkdir(parents=True)
    return place


def _keep(place: Path, plan: storm.Plan, error: BaseException) -> None:
    (place / "failure.json").write_text(
        json.dumps({"seed": plan.seed, "plan": str(plan), "error": f"{type(error).__name__}: {error}"}, indent=1)
    )


def _summarise(done: list[tuple[storm.Plan, storm.Run, Ledger]], console: Console) -> None:
    table = Table(title=f"{len(done)} runs, nothing lost, duplicated or resurrected", title_justify="left")
    for column in ("move", "runs", "who died", "second faults", "acknowledged commits", "looks at the owners"):
        table.add_column(column)
    for move in sorted({plan.cell.move for plan, _, _ in done}):
        here = [(plan, ledger) for plan, _, ledger in done if plan.cell.move == move]
        commits: Counter[str] = sum((ledger.acknowledged for _, ledger in here), Counter())
        looks = commits.pop("looks at the owners", 0)
        victims = Counter(plan.cell.victim for plan, _ in here)
        table.add_row(
            move,
            str(len(here)),
            ", ".join(f"{who} {count}" for who, count in sorted(victims.items())),
            str(sum(len(plan.faults) + bool(plan.second_kill) for plan, _ in here)),
            f"{commits.total():,}",
            f"{looks:,}",
        )
    Console(file=sys.stdout, width=max(console.width, 120)).print(table)


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
