"""One cell run: walk in, kill at the point, start again, run the same command, compare both sides and the ledger."""

import signal
import threading
from collections.abc import Callable, Container

import psycopg

from tests import both_sides
from tests.chaos.cells import OF_THE_STREAM, Cell
from tests.chaos.crossroads import Crossroads
from tests.chaos.ledger import Ledger
from tests.chaos.world import BACK, GATE_NOT_MET, GATE_TRIES, PHASES, SECONDS, World, eventually

TRIES = 8
TRIES_TO_REACH = 12
NEAR_RECORDS = 500
TOO_FAR_BEHIND = "wait for it (strangle_status"
SIGKILLED = -signal.SIGKILL


def run_cell(crossroads: Crossroads, cell: Cell, *, seed: int = 1) -> Ledger:
    """Run it, again on a fresh world if the point was not passed; AssertionError tells what is wrong."""
    for number in range(TRIES):
        with crossroads.at(cell.before) as world:
            with crossroads.busy(world, seed=seed) as ledger:
                struck = _strike(world, cell, still_seconds=1.0 + number / 2)
                if struck:
                    complete(world, cell)
            if struck:
                settle(world, ledger)
                return ledger
    raise AssertionError(f"{cell.name}: {TRIES} runs did not pass the point")


def complete(world: World, cell: Cell) -> None:
    """The same command, or the rollback, until it is done; nothing else is allowed."""
    reach(world, cell)
    assert len(world.owners()) == (0 if cell.after == "monolith_only" else 1), world.owners()


def reach(world: World, cell: Cell, excused: Container[int] = (0, 1, GATE_NOT_MET)) -> None:
    """Run the cell's last command until the context is where it leads; that is all that a person may have to do.

    The phase is looked at before each try: a rollback that was cut off behind its end would else undo one phase more.
    """
    said = ""
    for number in range(TRIES_TO_REACH):
        if number > TRIES_TO_REACH // 2 or TOO_FAR_BEHIND in said:
            world.calm.set()  # a verification is equal and the lag too large for its phase: let the machine catch up
        if TOO_FAR_BEHIND in said:
            eventually(lambda: _caught_up(world))
        try:
            if world.phase() == (cell.after, None):
                return
        except psycopg.OperationalError:
            eventually(lambda: _answers(world))
            continue
        world.revive()
        done = world.run_past_gates(cell.afterwards)
        said = done.said()
        assert done.status in excused, (done.status, said)
        assert "Traceback" not in said, said
    raise AssertionError(f"{cell.afterwards} did not lead to {cell.after} in {TRIES_TO_REACH} tries: {said}")


def _caught_up(world: World) -> bool:
    """Whether what either side has numbered is nearly applied on the other."""
    head = "SELECT base + records FROM strangle_tick WHERE stream = 'orders' ORDER BY number DESC LIMIT 1"
    applied = "SELECT position FROM strangle_inbox WHERE stream = 'orders'"
    try:
        with world.connect("shop") as shop, world.connect("orders") as orders:
            ends = [(shop.execute(head).fetchone(), orders.execute(applied).fetchone()),
                    (orders.execute(head).fetchone(), shop.execute(applied).fetchone())]  # fmt: skip
    except psycopg.OperationalError:
        return False
    return all(end is None or at is None or end[0] - at[0] < NEAR_RECORDS for end, at in ends)


def _answers(world: World) -> bool:
    try:
        world.phase()
    except psycopg.OperationalError:
        return False
    return True


def settle(world: World, ledger: Ledger) -> None:
    """Writers have stopped: see that both sides are equal, and hold what was acknowledged."""
    assert ledger.faults == [], ledger.faults
    world.revive()
    phase = world.phase()[0]
    if phase == "monolith_only":
        with world.connect("orders") as conn:
            assert conn.execute("SELECT count(*) FROM sales_order").fetchone() == (0,)
        hold(ledger, "shop")
        world.insist("strangle_dual_write")
    if phase in PHASES[:2]:
        world.insist("strangle_backfill")
    if phase == "decommission":
        hold(ledger, "orders")
        world.insist(BACK)
    with world.connect("shop") as shop, world.connect("orders") as orders:
        equal = eventually(lambda: both_sides.differences(shop, orders) == [])
        assert equal, both_sides.differences(shop, orders)[:20]
    hold(ledger, "shop")
    hold(ledger, "orders")


def hold(ledger: Ledger, side: str) -> None:
    """Hold a side against what was acknowledged."""
    wrong = ledger.compare(side)
    assert wrong == [], wrong[:20]


def _strike(world: World, cell: Cell, *, still_seconds: float) -> bool:
    """Begin the move and kill the victim; False when it came to its end without passing the point."""
    if cell.victim == "operator":
        return _kill_operator(world, cell, still_seconds)
    if cell.victim == "postgresql":
        return _kill_postgresql(world, cell, still_seconds)
    return _kill_server(world, cell)


def _held_still(world: World, cell: Cell, seconds: float) -> Callable[[], None]:
    """For points that are only passed when the stream has news: hold those still who would take it first."""
    names = ["relay", "relay back"] if cell.point in OF_THE_STREAM else []
    for name in names:
        world.living[name].send(signal.SIGSTOP)

    def resume() -> None:
        for name in names:
            world.living[name].send(signal.SIGCONT)

    # A move may wait for them; by then the operator's own tick is made, unless the machine is slow to start it.
    timer = threading.Timer(seconds, resume)
    timer.start()

    def now() -> None:
        timer.cancel()
        resume()

    return now


def _kill_operator(world: World, cell: Cell, still_seconds: float) -> bool:
    resume = _held_still(world, cell, still_seconds)
    try:
        done = world.run_past_gates(cell.command, points=f"{cell.point}=kill@{cell.passage}")
    finally:
        resume()
    assert done.status in {SIGKILLED, 0, 4}, (done.status, done.said())
    return done.status == SIGKILLED


def _kill_postgresql(world: World, cell: Cell, still_seconds: float) -> bool:
    gate = world.directory / "go"
    for number in range(GATE_TRIES):
        # Held anew, and with news, for each try: a gate that was not met has let the relays take what there was.
        resume = _held_still(world, cell, still_seconds)
        if number and cell.point in OF_THE_STREAM:
            world.calm.clear()
        operator = world.start(cell.command, points=f"{cell.point}=wait:{gate}")
        eventually(lambda: gate.with_suffix(".reached").exists() or operator.status is not None)  # noqa: B023
        if operator.status != GATE_NOT_MET:
            break
        world.calm.set()
        resume()
    world.calm.clear()
    resume()
    if operator.status is not None:
        assert operator.status in {0, 4}, operator.said()
        return False
    world.server.kill()
    world.server.start()
    gate.touch()
    status = operator.wait(SECONDS)
    # Behind its last statement the command does not need the database any more.
    assert status == 1 or (status == 0 and cell.point == "machine.completed"), (status, operator.said())
    if status:
        assert "run the same command again" in operator.said(), operator.said()
    assert "Traceback" not in operator.said(), operator.said()
    return True


def _kill_server(world: World, cell: Cell) -> bool:
    name = cell.victim
    world.living[name].kill()
    victim = world.serve(name, points=f"{cell.point}=kill@{cell.passage}")
    operator = world.start(cell.command)
    died = victim.wait(15) == SIGKILLED
    world.revive()
    assert operator.wait(SECONDS) is not None, operator.said()
    assert operator.status in {0, 1, 4}, (operator.status, operator.said())
    return died
