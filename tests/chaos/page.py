"""The fault matrix as a page of the reference, and the measuring of what it is made from.

`python -m tests.chaos.page` walks every move, notes the points passed, and writes passages.json and the page.
"""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.chaos.cells import MEASURED, Cell, all_cells, in_every_test_run, measured, moves
from tests.chaos.crossroads import Passages, opened, write_passages
from tests.chaos.elsewhere import ELSEWHERE
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "reference" / "fault-matrix.md"


HEAD = """# The fault matrix

Made by `make chaos-table`; a test fails when it is stale. Which points a move passes is measured: each move is made
once, under writers, and notes the named points of the code that it comes by.

A cell is a move that is cut off at a point by the death (SIGKILL) of one party, and what the operator does then: the
*same command again*, or `strangle_rollback`. Customers write all the time to whichever side takes it, one renames
customers, and relays, consumers and feeds of both directions run as processes. Every cell ends with these checks:

* the context is where the command leads; no other command was needed;
* at no moment did both sides believe that they may write;
* both sides are equal, by SQL that shares no code with the toolkit;
* each acknowledged commit is there exactly once, on both sides, with its last acknowledged value; what was deleted
  stays deleted; nothing is there that nobody wrote; rows that all writers increment count each increment once.

**T**: run by `make test` or `make test-thorough`. **c**: run by `make chaos` alone. A number after @ is the passage,
if not the first.

## Random runs

```
make chaos RUNS=200 SEED=1                                    # each run takes the next seed
make chaos RUNS=1 SEED=17                                     # one of them again
make chaos RUNS=5 CELL=to_cutover-operator-handover.closed-back   # one cell, or those whose names hold a word
make chaos RUNS=100000 MINUTES=480 ARGS="--transports feed redis rabbitmq"
```

A run draws a cell, a passage, one to four writers and a transport from its seed, and adds up to three second faults:
another process killed, one stopped for a while (SIGSTOP), PostgreSQL or the broker killed and started, the network to
the feeds or the databases deaf or cut, a second operator, SIGINT, the second command killed as well. Three runs of ten
have a live proxy, whose customers order by HTTP and whose agent or Envoy may be struck. It ends with the same checks.
At the first loss the exit status is 1, and `var/chaos/` keeps the databases, the output of every process
and the plan. A seed repeats the circumstances; real processes race, so try it several times.

"""


def render() -> str:
    """The page."""
    cells = all_cells()
    tested = set(in_every_test_run(cells))
    parts = [
        HEAD,
        f"{len(cells)} cells, {len(tested)} of them in `make test` and `make test-thorough`.\n",
    ]
    for move in moves():
        way = "Forward" if move.startswith("to ") else "Back"
        parts.append(f"\n## {way}: {move}\n\n")
        parts.append("| point | passages | operator, again | operator, rolled back | PostgreSQL | relay | consumer |\n")
        parts.append("|---|---|---|---|---|---|---|\n")
        here = [cell for cell in cells if cell.move == move]
        for point in dict.fromkeys(cell.point for cell in here):
            passages = measured()[move].get(point)
            columns = [
                _mark((c for c in here if c.point == point and _column(c) == column), tested)
                for column in ("operator again", "operator back", "postgresql", "relay", "consumer")
            ]
            parts.append(f"| `{point}` | {passages or '-'} | {' | '.join(columns)} |\n")
    parts.append("\n## Cells with tests of their own\n\n| point | what | test |\n|---|---|---|\n")
    parts += [f"| `{point}` | {what} | `{name}` in `{path}` |\n" for point, (path, name, what) in ELSEWHERE.items()]
    parts.append(
        "\nEffects of handlers, once each, with a consumer killed at every point of its own: "
        "`tests/chaos/test_killed_processes.py`. The test of a cell **T** is "
        "`test_a_cell_loses_nothing` in `tests/chaos/test_matrix.py`, with the cell's name as its parameter.\n"
    )
    return "".join(parts)


def _column(cell: Cell) -> str:
    if cell.victim == "operator":
        return f"operator {cell.then}"
    return cell.victim.split()[0]


def _mark(cells: Iterable[Cell], tested: set[Cell]) -> str:
    marks = []
    for cell in cells:
        mark = "**T**" if cell in tested else "c"
        marks.append(f"{mark} @{cell.passage}" if cell.passage > 1 and cell.victim == "operator" else mark)
    return ", ".join(marks) or "-"


def union(known: Passages, found: Passages) -> Passages:
    """What was ever measured: some points are passed only when the stream has news at that moment."""
    return {
        name: {
            point: max(known.get(name, {}).get(point, 0), found.get(name, {}).get(point, 0))
            for point in (known.get(name, {}) | found.get(name, {}))
        }
        for name in known | found
    }


def main(again: bool) -> None:
    """Measure and write; with `again` forget what was measured before."""
    with tempfile.TemporaryDirectory(prefix="strangle-chaos-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        with opened(place) as crossroads:
            crossroads.measure_the_ways_back()
            known = measured() if MEASURED.exists() and not again else {}
            write_passages(MEASURED, union(known, crossroads.passages))
    PAGE.write_text(render())


if __name__ == "__main__":
    asked = argparse.ArgumentParser(prog="python -m tests.chaos.page", description="Measure passages, write the page.")
    asked.add_argument("--render", action="store_true", help="write the page of what is known; measure nothing")
    asked.add_argument("--forget", action="store_true", help="forget what was measured before")
    options = asked.parse_args()
    if options.render:
        PAGE.write_text(render())
    else:
        main(options.forget)
