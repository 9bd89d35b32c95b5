"""An operator's command killed with SIGKILL at each of its named points, run again, and both sides compared exactly.

Relays and consumers of both directions and two writers run all the time.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_tools.state.journal import phase_of
from tests.conftest import ROOT, Pair
from tests.integration.test_phases import PHASES, ROAD, Road, road, writing
from tests.operators import IMPATIENT

__all__ = ["road"]

SIGKILLED = -9
INSTALL = ["install.relations_done", "install.table_done", "install.target_done", "install.source_done"]
STOP = ["stop.drained", "tick.before_row", "tick.before_commit", "projector.done"]
COPY = ["copy.rows_written", "copy.before_commit", "copy.after_commit"]
HAND_OVER = [
    "handover.locked", "handover.drained", "handover.before_close", "handover.closed", "handover.opened",
]  # fmt: skip

FORWARD_CELLS = [
    *(("dual_write", point) for point in (*INSTALL, "machine.worked")),
    *(("backfill", point) for point in (*COPY, "stop.drained", "machine.started", "machine.completed")),
    *(("cutover", point) for point in (*HAND_OVER, "machine.worked")),
    *(("decommission", point) for point in ("archive.dumped", "machine.worked")),
]
BACKWARD_CELLS = [
    *(("dual_write", point) for point in ("remove.table_done", "stop.drained", "machine.worked")),
    *(
        ("cutover", point)
        for point in ("handover.locked", "handover.before_close", "handover.closed", "handover.opened")
    ),
    *(("decommission", point) for point in ("copy.rows_written", "machine.worked")),
]

# Points of processes that are killed in tests of their own, and that of a live proxy (test_killed_while_held).
ELSEWHERE = {
    "inbox.rows_applied", "inbox.before_commit", "inbox.after_commit", "sync.rows_upserted", "handover.held",
    "publication.confirmed", "verify.range_compared", "verify.range_recorded",
}  # fmt: skip


def owners(pair: Pair) -> list[str]:
    """The sides whose own fence lets applications write."""
    found = []
    for side in ("shop", "orders"):
        with pair.connect(side) as conn:
            row = conn.execute("SELECT side, owner FROM strangle_ownership").fetchone()
            if row is not None and row[0] == row[1]:
                found.append(row[0])
    return found


def killed(road: Road, command: str, point: str) -> None:
    """Run the command in a process of its own, dying at the point."""
    name, *args = command.split()
    done = road.pair.manage(name, "orders", *args, STRANGLE_POINTS=f"{point}=kill", **IMPATIENT)
    assert done.returncode == SIGKILLED, (done.returncode, done.stdout, done.stderr)
    assert len(owners(road.pair)) <= 1


def walk_to(road: Road, phase: str) -> None:
    road.go(*ROAD[: PHASES.index(phase)])


@pytest.mark.parametrize(("phase", "point"), FORWARD_CELLS, ids=lambda value: value)
def test_a_move_killed_at_a_point_is_completed_by_the_same_command(road: Road, phase: str, point: str) -> None:
    step = PHASES.index(phase)
    if phase == "decommission":
        walk_to(road, "cutover")
        killed(road, ROAD[step - 1], point)
        road.go(ROAD[step - 1])
        road.run("strangle_rollback")
    else:
        with writing(road.pair):
            walk_to(road, PHASES[step - 1])
            killed(road, ROAD[step - 1], point)
            if phase_of("orders") != phase:
                road.go(ROAD[step - 1])
        assert phase_of("orders") == phase
    assert len(owners(road.pair)) == 1
    if phase == "dual_write":
        road.go("strangle_backfill")
    assert road.settled() == []


@pytest.mark.parametrize(("phase", "point"), BACKWARD_CELLS, ids=lambda value: value)
def test_a_rollback_killed_at_a_point_is_completed_by_the_same_command(road: Road, phase: str, point: str) -> None:
    before = PHASES[PHASES.index(phase) - 1]
    if phase == "decommission":
        walk_to(road, phase)
        killed(road, "strangle_rollback", point)
        road.run("strangle_rollback")
    else:
        with writing(road.pair):
            walk_to(road, phase)
            killed(road, "strangle_rollback", point)
            if phase_of("orders") != before:
                road.run("strangle_rollback")
    assert phase_of("orders") == before
    if before == "monolith_only":
        assert road.stage.orders.execute("SELECT count(*) FROM sales_order").fetchone() == (0,)
        road.go("strangle_dual_write", "strangle_backfill")
    assert len(owners(road.pair)) == 1
    assert road.settled() == []


def test_a_cutover_cut_off_after_closing_can_also_be_undone(road: Road) -> None:
    """Nobody may write then; going back must open the monolith again, not only say so."""
    walk_to(road, "switch_reads")
    killed(road, "strangle_cutover", "handover.closed")
    assert owners(road.pair) == []
    road.run("strangle_rollback")
    assert owners(road.pair) == ["source"]
    with road.pair.connect("shop", "shop_app") as shop:
        shop.execute("UPDATE orders_order SET note = 'writing again' WHERE id = 1")
    assert road.settled() == []


def points_in_the_code() -> Iterator[str]:
    for path in (ROOT / "migration_tools").rglob("*.py"):
        yield from re.findall(r'points\.reached\(f?"([a-z_.{}]+)"', Path(path).read_text())


def test_every_point_of_the_code_has_a_cell() -> None:
    covered: set[Any] = {point for _, point in (*FORWARD_CELLS, *BACKWARD_CELLS)} | ELSEWHERE | set(STOP)
    named = {re.sub(r"\{.*?\}", "source", point) for point in points_in_the_code()}
    assert named - covered == set()
