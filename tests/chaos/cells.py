"""The fault matrix: a cell for each move, crash point, victim and what the operator does then, from what was measured.

`passages.json` says which points each move passes, and how often; `python -m tests.chaos.page` measures and writes it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.world import BACK, FORWARD, PHASES

MEASURED = Path(__file__).with_name("passages.json")

# Passed only when the stream has news for the operator's own tick: its cells hold the relay and the consumer still.
OF_THE_STREAM = {"projector.done", "tick.before_row", "tick.before_commit", "sync.rows_upserted", "stop.drained"}
MANY = 3
EVERY = 24


@dataclass(frozen=True, order=True)
class Cell:
    """Who dies at which passage of which point of which move, and whether it is then completed or undone."""

    move: str
    victim: str
    point: str
    passage: int = 1
    then: str = "again"

    @property
    def name(self) -> str:
        """Its name in test ids, on the page and on the command line."""
        times = f"@{self.passage}" if self.passage > 1 else ""
        words = (self.move, self.victim, f"{self.point}{times}", self.then)
        return "-".join(word.replace(" ", "_") for word in words)

    @property
    def phase(self) -> str:
        """The phase that the move enters or undoes."""
        return self.move.split()[1]

    @property
    def forward(self) -> bool:
        """Whether the move that is cut off goes forward."""
        return self.move.startswith("to ")

    @property
    def before(self) -> str:
        """The phase in which the cell begins."""
        return PHASES[PHASES.index(self.phase) - 1] if self.forward else self.phase

    @property
    def after(self) -> str:
        """The phase in which it must end."""
        stays = self.forward == (self.then == "again")
        return self.phase if stays and self.forward else PHASES[PHASES.index(self.phase) - 1]

    @property
    def command(self) -> str:
        """What is cut off."""
        return FORWARD[self.phase] if self.forward else BACK

    @property
    def afterwards(self) -> str:
        """What the operator runs then."""
        return self.command if self.then == "again" else BACK


def measured() -> dict[str, dict[str, int]]:
    """The points that each move, the relay and the consumer pass, with how often."""
    found: dict[str, dict[str, int]] = json.loads(MEASURED.read_text())
    return found


def moves() -> list[str]:
    """All moves, forward and back."""
    return [f"{way} {phase}" for phase in PHASES[1:] for way in ("to", "undo")]


def all_cells() -> list[Cell]:
    """Every cell."""
    return list(dict.fromkeys([*_operators(), *_databases(), *_servers()]))


def _operators() -> Iterator[Cell]:
    for move in moves():
        for point, count in measured()[move].items():
            yield Cell(move, "operator", point)
            if count >= MANY and point not in OF_THE_STREAM:
                yield Cell(move, "operator", point, count)
            # A verification's stops come before its move begins: until then there is nothing to undo.
            if move.startswith("to ") and point != "machine.completed" and not (
                move == "to verify" and point in OF_THE_STREAM
            ):  # fmt: skip
                yield Cell(move, "operator", point, then="back")


def _databases() -> Iterator[Cell]:
    for move in moves():
        for point in measured()[move]:
            yield Cell(move, "postgresql", point)


def _servers() -> Iterator[Cell]:
    for move in moves():
        late = move in {"undo cutover", "to decommission", "undo decommission"}
        for who in ("relay", "consumer"):
            for point in measured()[who]:
                yield Cell(move, f"{who} back" if late else who, point, 2)


def in_every_test_run(cells: list[Cell]) -> list[Cell]:
    """What `make test` and `make test-thorough` run, of all that `make chaos` does.

    Each point of each move under the operator's feet, each way out of a hand-over, one of 24 others, and PostgreSQL's
    own death in every move.

    Points of the stream, which every move passes alike, are cut off in the hand-overs.
    """
    always = [c for c in cells if c.victim == "operator" and _own(c)]
    some = [*always, *[c for c in cells if c not in always][::EVERY]]
    restarted = {c.move for c in some if c.victim == "postgresql"}
    for move in moves():
        here = [c for c in cells if (c.move, c.victim) == (move, "postgresql") and c.point not in OF_THE_STREAM]
        if move not in restarted:
            some.append(here[len(here) // 2])
    return some


def _own(cell: Cell) -> bool:
    """Whether the cell shows something of its move that no other cell shows."""
    if cell.point.startswith("handover."):
        return True
    once = cell.then == "again" and cell.passage == 1
    return once and (cell.point not in OF_THE_STREAM or cell.phase == "cutover")
