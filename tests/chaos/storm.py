"""A random run: a random cell, at a random passage, with second faults of every kind while it is completed.

Everything that is chosen comes from the run's seed; what the machine then makes of it does not, since real processes
race. So a seed repeats the circumstances, not the very interleaving: repeat it several times.
"""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import psutil
import psycopg

from migration_tools.testing.brokers import EmbeddedBroker
from tests.chaos.cells import Cell, all_cells, measured
from tests.chaos.crossroads import Crossroads
from tests.chaos.edge import Edge, edge_of
from tests.chaos.ledger import Ledger
from tests.chaos.nursery import Child
from tests.chaos.trial import reach, settle
from tests.chaos.wire import Wire
from tests.chaos.world import CALM_SECONDS, GATE_NOT_MET, GATE_TRIES, SERVERS, World, eventually

SUPERVISOR_SECONDS = 0.2
DEATH_SECONDS = 10.0
FAULTS = ["kill", "pause", "postgresql", "second operator", "interrupt", "deaf", "cut", "broker"]
WIRES = ["feed", "feed back", "database"]
AT_THE_EDGE = ["kill", "pause", "envoy"]
SHARE_WITH_A_PROXY = 0.3
# What a command may say when something was broken under it: error, gate, another operator, interrupted.
EXCUSED = {0, 1, 4, 5, 6, -signal.SIGKILL}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A second fault: what, to whom, when after the first command's start, for how long."""

    what: str
    whom: str
    after: float
    lasts: float

    def __str__(self) -> str:
        return f"{self.what} {self.whom} at {self.after:.1f} s for {self.lasts:.1f} s".replace("  ", " ")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do, from its seed alone."""

    seed: int
    cell: Cell
    passage: int
    writers: int
    pause: float
    transport: str
    second_kill: str
    faults: tuple[Fault, ...]
    edge: bool = False

    def __str__(self) -> str:
        second = f", then at {self.second_kill}" if self.second_kill else ""
        faults = "; a live proxy" * self.edge + "".join(f"; {fault}" for fault in self.faults)
        return f"{self.cell.name} (passage {self.passage}{second}; {self.writers} writers; {self.transport}{faults})"


def plan(seed: int, cell: Cell | None = None, *, transports: tuple[str, ...] = ("feed", "redis")) -> Plan:
    """Make the plan of a seed; the cell may be given instead of drawn."""
    choose = random.Random(seed)
    drawn = choose.choice(all_cells())
    cell = cell or drawn
    points = measured()[cell.move]
    transport = choose.choice(["feed", "feed", *transports])
    faults = []
    for _ in range(choose.choice([0, 1, 1, 2, 3])):
        what = choose.choice(FAULTS)
        if what == "broker" and transport == "feed":
            what = "kill"
        whom = {
            "kill": choose.choice(list(SERVERS)),
            "pause": choose.choice([*SERVERS, "operator", "operator"]),
            "deaf": choose.choice(WIRES),
            "cut": choose.choice(WIRES),
        }.get(what, "")
        faults.append(
            Fault(what=what, whom=whom, after=round(choose.uniform(0, 2.5), 2), lasts=round(choose.uniform(0.1, 2), 2))
        )
    made = Plan(
        seed=seed,
        cell=cell,
        passage=choose.randint(1, max(points.get(cell.point, 1), 1)),
        writers=choose.randint(1, 4),
        pause=choose.choice([0.002, 0.006, 0.02]),
        transport=transport,
        second_kill=choose.choice([*points, *[""] * len(points)]),
        faults=tuple(sorted(faults, key=lambda fault: fault.after)),
    )
    return _at_the_edge(made, choose) if choose.random() < SHARE_WITH_A_PROXY else made


def _at_the_edge(made: Plan, choose: random.Random) -> Plan:
    """The same plan with a live proxy, whose agent or Envoy may be struck as well; drawn last, so that seeds stay."""
    what = choose.choice([*AT_THE_EDGE, ""])
    after, lasts = round(choose.uniform(0, 2.5), 2), round(choose.uniform(0.1, 2), 2)
    struck = (Fault(what=what, whom="proxy", after=after, lasts=lasts),) if what else ()
    return replace(made, edge=True, faults=tuple(sorted((*made.faults, *struck), key=lambda fault: fault.after)))


@dataclass
class Run:
    """One run under way."""

    plan: Plan
    world: World
    wires: dict[str, Wire]
    broker: EmbeddedBroker | None
    edge: Edge | None = None
    exits: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    operator: Child | None = None
    _over: threading.Event = field(default_factory=threading.Event)
    _database: threading.Lock = field(default_factory=threading.Lock)

    def carry_out(self) -> None:
        """Cut off the move as planned, and complete it, while the other faults come."""
        began = time.monotonic()
        threads = [threading.Thread(target=self._supervise, daemon=True)]
        threads += [threading.Thread(target=self._come, args=(each, began), daemon=True) for each in self.plan.faults]
        for each in threads:
            each.start()
        try:
            self._move()
        finally:
            for each in threads[1:]:
                each.join(60)
            self._over.set()
            threads[0].join(60)
        reach(self.world, self.plan.cell)

    def _move(self) -> None:
        cell, armed = self.plan.cell, f"{self.plan.cell.point}=kill@{self.plan.passage}"
        if cell.victim in SERVERS:
            self.world.living[cell.victim].kill()
            self.world.serve(cell.victim, points=armed)
            self._command(cell.command, "")
        elif cell.victim == "postgresql":
            self._command(cell.command, f"{cell.point}=stop@{self.plan.passage}", self._crash_the_database)
        else:
            for _ in range(GATE_TRIES):
                if self._command(cell.command, armed) != GATE_NOT_MET:
                    break
                self.world.calm.set()
            self.world.calm.clear()
        if self.plan.second_kill and patiently(self.world.phase) != (cell.after, None):
            self._command(cell.afterwards, f"{self.plan.second_kill}=kill")
        reach(self.world, cell, excused=EXCUSED)

    def _command(self, command: str, points: str, at_a_stop: Callable[[], None] | None = None) -> int:
        child = self.operator = self.world.start(command, points=points)
        deadline = time.monotonic() + 90
        with self.world.calmer_after(CALM_SECONDS):
            while child.wait(0.05) is None:
                if at_a_stop is not None and _stopped(child.pid):
                    at_a_stop()
                    child.send(signal.SIGCONT)
                    at_a_stop = None
                if time.monotonic() > deadline:
                    raise AssertionError(f"{command} did not end within 90 s: {child.said()}")
        self._note(child.status or 0, child.said())
        return child.status or 0

    def _note(self, status: int, said: str) -> None:
        self.exits.append(status)
        if status not in EXCUSED or "Traceback" in said:
            self.faults.append(f"exit {status}: {said}")

    def _supervise(self) -> None:
        while not self._over.wait(SUPERVISOR_SECONDS):
            self.world.revive()

    def _crash_the_database(self) -> None:
        with self._database:
            self.world.server.kill()
            self.world.server.start()

    def _come(self, fault: Fault, began: float) -> None:
        threading.Event().wait(max(0, began + fault.after - time.monotonic()))
        eventually(lambda: self.operator is not None)
        try:
            self._bring(fault, self.operator)
        except BaseException as error:
            self.faults.append(f"{fault} could not be brought about: {type(error).__name__}: {error}")

    def _bring(self, fault: Fault, operator: Child | None) -> None:
        assert operator is not None
        pause = threading.Event()
        match fault.what:
            case "kill":
                child = self.world.living[fault.whom]
                child.send(signal.SIGKILL)
                # Until its death is known, nobody would start it again.
                child.wait(DEATH_SECONDS)
            case "pause":
                child = operator if fault.whom == "operator" else self.world.living[fault.whom]
                child.send(signal.SIGSTOP)
                pause.wait(fault.lasts)
                child.send(signal.SIGCONT)
            case "postgresql":
                self._crash_the_database()
            case "interrupt":
                # Before that Django is being set up, and whatever it says then is not ours.
                eventually(lambda: operator.status is not None or _is_connected(operator.pid))
                operator.send(signal.SIGINT)
            case "second operator":
                # Of the two only one can move; a rollback that comes late would undo one phase more.
                if self.plan.cell.forward and self.plan.cell.then == "again":
                    child = self.world.run(self.plan.cell.command)
                    self._note(child.status or 0, child.said())
            case "envoy":
                assert self.edge is not None
                self.edge.kill_envoy()
            case "deaf":
                self.wires[fault.whom].deafen()
                pause.wait(fault.lasts)
                self.wires[fault.whom].hear()
            case "cut":
                self.wires[fault.whom].cut()
            case "broker":
                assert self.broker is not None
                self.broker.kill()
                pause.wait(fault.lasts)
                self.broker.start()


def patiently(ask: Callable[[], object], seconds: float = 60.0) -> object:
    """Ask a database that may be away just now."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "T"
    except FileNotFoundError:
        return False


def _is_connected(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).net_connections("tcp"))
    except psutil.Error:
        return False


@contextmanager
def _wired(crossroads: Crossroads, made: Plan, kind: type[EmbeddedBroker] | None) -> Iterator[Run]:
    """A world whose feeds and databases are reached by wires, with a broker of its own."""
    with ExitStack() as stack:
        broker = stack.enter_context(kind()) if kind is not None else None
        database = stack.enter_context(Wire(crossroads.server.port))
        env = {"SHOP_DB_PORT": str(database.port), "ORDERS_DB_PORT": str(database.port)}
        if broker is not None:
            env |= {"STRANGLE_TRANSPORT": "kombu", "STRANGLE_BROKER_URL": broker.url}
        world = stack.enter_context(crossroads.at(made.cell.before, **env))
        wires = {name: stack.enter_context(Wire(port)) for name, port in world.ports.items()}
        world.addresses = {name: f"127.0.0.1:{wire.port}" for name, wire in wires.items()}
        edge = stack.enter_context(edge_of(world)) if made.edge else None
        yield Run(made, world, {**wires, "database": database}, broker, edge)


def run(crossroads: Crossroads, made: Plan, kind: type[EmbeddedBroker] | None) -> tuple[Run, Ledger]:
    """Carry a plan out; AssertionError tells what is wrong, and everything of the run is kept then."""
    with _wired(crossroads, made, kind) as under_way:
        edge, world = under_way.edge, under_way.world
        with (
            crossroads.busy(world, seed=made.seed, writers=made.writers, pause=made.pause) as ledger,
            edge.customers(ledger, made.seed) if edge else nullcontext(),
        ):
            under_way.carry_out()
        assert under_way.faults == [], under_way.faults
        settle(under_way.world, ledger)
        return under_way, ledger
