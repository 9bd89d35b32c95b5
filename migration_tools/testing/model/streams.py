"""The steps of relay and consumer: a tick is taken and committed; a message or the feed is applied, in any order."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from migration_tools.kernel.positions import Admission
from migration_tools.kernel.records import GONE, PATCH, ROW
from migration_tools.testing.model.database import NAME, Database, Key, Record, Row, Tick
from migration_tools.testing.model.protocol import Protocol
from migration_tools.testing.model.world import SIDES, Scenario, Stop, World
from migration_tools.testing.model.writers import Steps


class Relation(NamedTuple):
    """As kernel.records reads a relation."""

    table: str
    owned: bool
    patch: bool


WHOLE, NAMES = 1, 2
RELATIONS = {WHOLE: Relation("orders", True, False), NAMES: Relation("orders", False, True)}


class Conflict(Exception):
    """The tick's number is taken: nothing is written."""


class UniqueValue(Exception):
    """A row cannot be written while another holds its unique value."""


def mapped(db: Database, side: int, stop_at: Any) -> tuple[tuple[Key, Row], ...]:
    """The rows of a side as the other side should hold them: with the name joined, or without it."""
    rows = db.table(stop_at)
    if side == 0:
        name = db.read(NAME, stop_at)
        return tuple((key, (row, name)) for key, row in rows)
    return tuple((key, row[0]) for key, row in rows)


def begin_tick(protocol: Protocol, db: Database, side: int) -> Stop:
    """Take the tick's snapshot and what is new in it; see Note [commit order of outbox rows]."""
    snapshot = db.now()
    visible = [each for each in db.outbox if snapshot.sees(each.xid)]
    match protocol.cursor:
        case "seq":
            taken = [each for each in visible if each.seq > db.cursor]
        case "horizon":
            taken = [each for each in visible if each.seq > db.cursor and each.xid < snapshot.xmin]
        case _:
            taken = [each for each in visible if protocol.news_since(each.xid, db.snapshot)]
    if not taken:
        return Stop(snapshot, None, db.cursor)
    last = db.ticks[-1] if db.ticks else None
    number, base = protocol.follow((last.number, last.base, len(last.records)) if last else None)
    touched = tuple(sorted({key for each in taken if each.kind == "t" for key in each.keys}))
    events = tuple(key for each in taken if each.kind == "e" for key in each.keys)
    tick = Tick(number, base, _records(protocol, db, side, snapshot, base, touched, events), None)
    image = mapped(db, side, snapshot)
    return Stop(snapshot, tick._replace(image=image), max([db.cursor, *(each.seq for each in taken)]), touched)


def _records(
    protocol: Protocol, db: Database, side: int, snapshot: Any, base: int, touched: Sequence[Key], events: Sequence[str]
) -> tuple[Record, ...]:
    """As capture.projector orders them: rows, then patches, then endings; events last."""
    image = dict(mapped(db, side, snapshot))
    own = [key for key in touched if key != NAME]
    found: list[tuple[str, int, Any, Any]] = [(ROW, WHOLE, key, image[key]) for key in own if key in image]
    if NAME in touched:
        found += [(PATCH, NAMES, key, row[1]) for key, row in image.items() if key not in own]
    found += [(GONE, WHOLE, key, None) for key in protocol.endings(own, image.__contains__)]
    found += [("e", WHOLE, event, None) for event in events]
    return tuple(Record(base + rank, *each) for rank, each in enumerate(found, 1))


def append_tick(protocol: Protocol, db: Database, side: int, stop: Stop) -> Database:
    """Commit the tick; retention drops at once what it may.

    Raises:
        Conflict: somebody else has appended this number.
    """
    tick = stop.tick
    if tick is None:
        return db
    if protocol.tick_unique and db.ticks and db.ticks[-1].number >= tick.number:
        raise Conflict
    if not protocol.rows_in_snapshot:
        events = tuple(each.key for each in tick.records if each.kind == "e")
        tick = tick._replace(records=_records(protocol, db, side, db.now(), tick.base, stop.touched, events))
    db = db._replace(ticks=(*db.ticks, tick), snapshot=stop.snapshot, cursor=stop.cursor)
    if protocol.cursor == "snapshot":
        kept = tuple(each for each in db.outbox if not protocol.forgettable(each.xid, stop.snapshot))
        db = db._replace(outbox=kept)
    return db


def relay_steps(scenario: Scenario, world: World, side: int) -> Steps:
    """A tick in two steps, or the death of the relay between them."""
    protocol, db, stop = scenario.protocol, world.sides[side], world.relays[side]
    name = f"relay of the {SIDES[side]}"
    if stop is None:
        if db.tick_lock or not any(db.now().sees(each.xid) for each in db.outbox):
            return []
        stop = begin_tick(protocol, db, side)
        if stop.tick is None:
            return []
        if protocol.tick_lock:
            db = db._replace(tick_lock="relay")
        return [(f"{name}: takes a tick's snapshot", _relay(world.side(side, db), side, stop))]
    free = db._replace(tick_lock="") if db.tick_lock == "relay" else db
    steps = []
    if world.crashes:
        dead = _relay(world.side(side, free), side, None)._replace(crashes=world.crashes - 1)
        steps.append((f"{name}: dies", dead))
    try:
        done = append_tick(protocol, free, side, stop)
        steps.append((f"{name}: commits tick {stop.tick.number if stop.tick else ''}", world.side(side, done)))
    except Conflict:
        steps.append((f"{name}: finds its tick's number taken", world.side(side, free)))
    return [*steps[:-1], (steps[-1][0], _relay(steps[-1][1], side, None))]


def _relay(world: World, side: int, stop: Stop | None) -> World:
    return world._replace(relays=(stop, world.relays[1]) if side == 0 else (world.relays[0], stop))


def consumer_steps(scenario: Scenario, world: World, side: int) -> Steps:
    """Apply any message that is not long applied, in any order, or what the feed holds after the position."""
    sender, receiver = world.sides[1 - side], world.sides[side]
    if receiver.gate_lock or not sender.ticks:
        return []
    name = f"consumer of the {SIDES[side]}"
    if world.pending[side] is not None:
        return _second_half(scenario, world, side, name)
    batches: list[tuple[str, int, tuple[Tick, ...]]] = [
        (f"message {tick.number}", tick.base, (tick,)) for tick in sender.ticks
    ]
    ahead = tuple(tick for tick in sender.ticks if tick.last > receiver.position)
    if len(ahead) > 1 or (ahead and ahead[0].base > receiver.position):
        batches.append(("the feed", receiver.position, ahead))
    steps = []
    for what, first, ticks in batches:
        for label, after in _take(scenario, world, side, first, ticks):
            if after != world:
                steps.append((f"{name}: {label} {what}", after))
    return steps


def _take(scenario: Scenario, world: World, side: int, first: int, ticks: Sequence[Tick]) -> Steps:
    protocol, db = scenario.protocol, world.sides[side]
    last = ticks[-1].last
    admission = protocol.admit(db.position, first, last)
    if admission is not Admission.TAKE:
        return []
    records = [record for tick in ticks for record in tick.records]
    rows = protocol.fresh([each for each in records if each.kind != "e"], db.rows_position)
    events = [each.key for each in protocol.fresh([each for each in records if each.kind == "e"], db.position)]
    position, rows_position = protocol.advance(db.rows_position, last)
    moved = db._replace(position=position, rows_position=rows_position)
    if not protocol.one_transaction:
        waiting = world.side(side, moved)
        pending = (tuple(rows), tuple(events))
        return [("commits the position of", _pending(waiting, side, pending))]
    applied = apply_rows(scenario, moved, side, rows)
    return [("applies", world.side(side, _handled(applied, events)))] if applied is not None else []


def _second_half(scenario: Scenario, world: World, side: int, name: str) -> Steps:
    rows, events = world.pending[side]
    free = _pending(world, side, None)
    steps = []
    applied = apply_rows(scenario, world.sides[side], side, rows)
    if applied is not None:
        steps.append((f"{name}: commits the effects", free.side(side, _handled(applied, events))))
    if world.crashes:
        steps.append((f"{name}: dies", free._replace(crashes=world.crashes - 1)))
    return steps


def _pending(world: World, side: int, pending: Any) -> World:
    return world._replace(pending=(pending, world.pending[1]) if side == 0 else (world.pending[0], pending))


def _handled(db: Database, events: Sequence[str]) -> Database:
    counts = dict(db.effects)
    for event in events:
        counts[event] = counts.get(event, 0) + 1
    return db._replace(effects=tuple(sorted(counts.items())))


def apply_rows(scenario: Scenario, db: Database, side: int, rows: Sequence[Record]) -> Database | None:
    """transfer.sync.TableWriter in miniature; None while a row's lock or a unique value keeps it from ending."""
    protocol = scenario.protocol
    allowed = protocol.accepted(RELATIONS, owns=db.believes()[0] == side)
    whole, patches = protocol.newest(RELATIONS, (row for row in rows if row.relation in allowed))
    records = list(whole.get("orders", {}).values())
    changed = [each for each in records if each.kind == ROW]
    gone = [each for each in records if each.kind == GONE]
    before = dict(db.table(db.now()))
    if any(db.holder(each.key) is not None for each in (*records, *patches)):
        return None
    held = None
    for leaving in protocol.departures(gone, changed):
        try:
            held = _upserted(scenario, dict(before), side, leaving, changed)
            break
        except UniqueValue:
            continue
    if held is None:
        return None
    for each in gone:
        held.pop(each.key, None)
    if side == 1:
        for each in patches:
            if each.key in held:
                held[each.key] = (held[each.key][0], each.values)
    changes = [(key, held.get(key)) for key in {*before, *held} if before.get(key) != held.get(key)]
    if not changes:
        return db
    if protocol.apply_captured:
        db, xid = db.begin()
        db = db.say("t", tuple(sorted(key for key, _ in changes)), xid).end(xid)
    return db.put(changes)


def _upserted(
    scenario: Scenario, held: dict[Key, Row], side: int, leaving: Sequence[Record], changed: Sequence[Record]
) -> dict[Key, Row]:
    for each in leaving:
        held.pop(each.key, None)
    for each in changed:
        if scenario.protocol.guard and each.key in held and _draw(held[each.key]) > _draw(each.values):
            continue
        if scenario.unique and any(
            _plain(row, side) == _plain(each.values, side) for key, row in held.items() if key != each.key
        ):
            raise UniqueValue
        held[each.key] = each.values
    return held


def _plain(row: Row, side: int) -> Row:
    return row[0] if side else row


def _draw(row: Row) -> int:
    return int(str(row[0]).partition("@")[2] or 0)
