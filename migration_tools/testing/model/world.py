"""The state that is explored: two databases, the application's transactions and the toolkit's processes."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from migration_tools.kernel.snapshots import Snapshot
from migration_tools.testing.model.database import NAME, Database, Renumbering, Tick
from migration_tools.testing.model.protocol import Protocol
from migration_tools.testing.model.transactions import Transaction

SIDES = ("monolith", "service")


class Writer(NamedTuple):
    """An application's transaction on its way."""

    at: int = 0
    stage: str = "start"  # start, snapped, asked, in, logged; committed or ended
    side: int = 0
    xid: int = -1
    snapshot: Snapshot | None = None
    refused: bool = False
    draw: int = 0


class Stop(NamedTuple):
    """A tick under way, by the relay or an operator; `reader` is the exported snapshot."""

    snapshot: Snapshot
    tick: Tick | None
    cursor: int = 0
    touched: tuple[int, ...] = ()
    reader: Snapshot | None = None


class Operator(NamedTuple):
    """A process of the toolkit: its next step and what it remembers until it dies."""

    step: str = "start"
    stop: Stop | None = None
    upto: int = 0
    epoch: int = 0


class World(NamedTuple):
    """Everything that can differ between two moments."""

    sides: tuple[Database, Database]
    writers: tuple[Writer, ...]
    relays: tuple[Stop | None, Stop | None] = (None, None)
    pending: tuple[Any, Any] = (None, None)
    copier: Operator = Operator()
    mover: Operator = Operator()
    moves_done: int = 0
    crashes: int = 0
    gave_up: int = 0
    wrong: str = ""

    def side(self, index: int, db: Database) -> "World":
        """The world with one database exchanged."""
        return self._replace(sides=(db, self.sides[1]) if index == 0 else (self.sides[0], db))


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is explored: rows there at the start, transactions, and which processes take part."""

    name: str
    transactions: tuple[Transaction, ...]
    rows: tuple[tuple[int, str], ...] = ((1, "a"),)
    chunks: tuple[int | None, ...] = ()  # upper bounds of the chunks to copy; none: the target is copied already
    installed: bool = True
    moves: tuple[int, ...] = ()  # hand-overs, each to a side
    crashes: int = 0
    give_ups: int = 0
    unique: bool = False  # two rows must not have one value
    protocol: Protocol = field(default_factory=Protocol)

    def begin(self) -> World:
        """The first state."""
        chain = tuple((key, ((0, value),)) for key, value in self.rows)
        source = Database(
            rows=((NAME, ((0, "n"),)), *chain),
            next_key=max((key for key, _ in self.rows), default=0) + 1,
            installed=self.installed,
        )
        mapped = tuple((key, ((0, (value, "n")),)) for key, value in self.rows)
        target = Database() if self.chunks else Database(rows=mapped, copied=1)
        return World(
            sides=(source, target),
            writers=tuple(Writer() for _ in self.transactions),
            crashes=self.crashes,
            gave_up=self.give_ups,
        )


def settled(world: World) -> World:
    """The same state in its normal form, so that equal futures are one state; see Note [the modelled PostgreSQL]."""
    for index in (0, 1):
        if world.sides[index].next_xid == 1:
            world = world.side(index, _trimmed(world, index))
            continue  # nothing bears a number
        live = [w.snapshot for w in world.writers if w.side == index and w.snapshot is not None]
        stops = [world.relays[index], *(op.stop for op, side in _operators(world) if side == index)]
        for stop in stops:
            if stop is not None:
                live.append(stop.snapshot)
                if stop.reader is not None:
                    live.append(stop.reader)
        numbers = Renumbering(world.sides[index], live)
        world = world.side(index, numbers.apply(_trimmed(world, index)))
        writers = tuple(
            w._replace(xid=numbers.rank(w.xid), snapshot=numbers.snapshot(w.snapshot))
            if w.side == index and (w.xid > 0 or w.snapshot is not None)
            else w
            for w in world.writers
        )
        relay = _renumbered(world.relays[index], numbers)
        world = world._replace(
            writers=writers, relays=(relay, world.relays[1]) if index == 0 else (world.relays[0], relay)
        )
        for place, (op, side) in enumerate(_operators(world)):
            if side == index and op.stop is not None:
                renewed = op._replace(stop=_renumbered(op.stop, numbers))
                world = world._replace(copier=renewed) if place == 0 else world._replace(mover=renewed)
    return world


def _trimmed(world: World, index: int) -> Database:
    """The side without ticks that are applied, but for the last of them, which may be delivered again."""
    db, receiver = world.sides[index], world.sides[1 - index]
    needed = min(receiver.position, receiver.rows_position)
    old = sum(1 for tick in db.ticks if tick.last <= needed) - 1
    return db._replace(ticks=db.ticks[old:]) if old > 0 else db


def _operators(world: World) -> tuple[tuple[Operator, int], tuple[Operator, int]]:
    """Copier and mover, each with the side whose snapshots it holds; moves go out, back, and out again."""
    return (world.copier, 0), (world.mover, world.moves_done % 2)


def _renumbered(stop: Stop | None, numbers: Renumbering) -> Stop | None:
    if stop is None:
        return None
    snapshot = numbers.snapshot(stop.snapshot)
    assert snapshot is not None  # noqa: S101  (only None becomes None)
    return stop._replace(snapshot=snapshot, reader=numbers.snapshot(stop.reader))
