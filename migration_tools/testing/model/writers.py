"""The steps of application transactions: snapshot, fence, statements, commit in the log, commit visible."""

from migration_tools.kernel.snapshots import Snapshot
from migration_tools.testing.model.database import NAME, Database, Key, Row
from migration_tools.testing.model.transactions import Delete, Insert, Publish, Rekey, Rename, Statement, Swap, Update
from migration_tools.testing.model.world import SIDES, Scenario, World, Writer

Steps = list[tuple[str, World]]


class Refused(Exception):
    """The statement fails and the transaction ends."""


class Blocked(Exception):
    """The statement waits for a lock."""


def writer_steps(scenario: Scenario, world: World, index: int) -> Steps:
    """What the transaction may do next; nothing while it waits or when it has ended."""
    writer, declared = world.writers[index], scenario.transactions[index]
    name = declared.name
    match writer.stage:
        case "start":
            if writer.refused:
                # The proxy sends a refused write again, to whoever says that it owns the context.
                sides = [side for side, db in enumerate(world.sides) if db.believes()[0] == side]
            else:
                sides = [writer.side]
            return [step for side in sides for step in _begin(scenario, world, index, side)]
        case "snapped" | "asked":
            return _fence(scenario, world, index)
        case "in":
            if writer.at < len(declared.statements):
                return _statement(scenario, world, index)
            if writer.xid < 0:
                return [(f"{name}: ends", _ended(world, index, committed=True))]
            if declared.rollback:
                return [(f"{name}: rolls back", _aborted(world, index))]
            return [(f"{name}: commit is in the log", _with(world, index, writer._replace(stage="logged")))]
        case "logged":
            world = world.side(writer.side, world.sides[writer.side].end(writer.xid))
            return [(f"{name}: commit is visible", _ended(world, index, committed=True))]
        case _:
            return []


def _begin(scenario: Scenario, world: World, index: int, side: int) -> Steps:
    declared = scenario.transactions[index]
    writer = world.writers[index]._replace(side=side, at=0)
    world = _with(world, index, writer)
    if declared.repeatable:
        writer = writer._replace(stage="snapped", snapshot=world.sides[side].now())
        return [(f"{declared.name}: takes its snapshot at the {SIDES[side]}", _with(world, index, writer))]
    if not declared.fenced or not scenario.moves:
        return _statement(scenario, _with(world, index, writer._replace(stage="in")), index)
    if scenario.protocol.owner_read == "before":
        believed = world.sides[side].believes()[0]
        writer = writer._replace(stage="asked", at=-1 if believed == side else -2)
        return [(f"{declared.name}: reads the owner at the {SIDES[side]}", _with(world, index, writer))]
    return _fence(scenario, world, index)


def _fence(scenario: Scenario, world: World, index: int) -> Steps:
    """Note [the fence]: take the shared lock, then read the owner."""
    writer, declared = world.writers[index], scenario.transactions[index]
    db = world.sides[writer.side]
    if db.fence_lock and scenario.protocol.fence_lock:
        return []
    owner = _owner(scenario, db, writer)
    if owner != writer.side:
        refused = Writer(side=writer.side, refused=True)
        return [(f"{declared.name}: is refused by the {SIDES[writer.side]}'s fence", _with(world, index, refused))]
    if scenario.protocol.fence_lock:
        db = db._replace(sharing=db.sharing | {index})
    world = _with(world.side(writer.side, db), index, writer._replace(stage="in", at=0))
    return [(f"{declared.name}: passes the {SIDES[writer.side]}'s fence", world)]


def _owner(scenario: Scenario, db: Database, writer: Writer) -> int | None:
    if writer.stage == "asked":
        return writer.side if writer.at == -1 else None
    if writer.snapshot is None:
        return db.believes()[0]
    if scenario.protocol.owner_read == "snapshot":
        return db.believes(writer.snapshot)[0]
    # FOR SHARE under REPEATABLE READ fails where the row has changed since.
    return db.believes()[0] if writer.snapshot.sees(db.owner[-1][0]) else None


def _statement(scenario: Scenario, world: World, index: int) -> Steps:
    writer, declared = world.writers[index], scenario.transactions[index]
    statement = declared.statements[writer.at]
    label = f"{declared.name}: {_told(statement)} at the {SIDES[writer.side]}"
    try:
        return [(label, _run(scenario, world, index, statement))]
    except Blocked:
        return []
    except Refused as failure:
        return [(f"{label} fails: {failure}", _aborted(world, index))]


def _run(scenario: Scenario, world: World, index: int, statement: Statement) -> World:
    writer, protocol = world.writers[index], scenario.protocol
    db = world.sides[writer.side]
    if isinstance(statement, Insert) and statement.key is None:
        statement = Insert(db.next_key, statement.value)
        db = db._replace(next_key=db.next_key + 1)
        if any(row is not None for _, row in db.chain(statement.key or 0)):
            return world._replace(wrong=f"key {statement.key} was drawn at the {SIDES[writer.side]} and is in use")
    changes = _changes(scenario, db, writer, statement)
    touched = tuple(sorted({key for key, _ in changes}))
    if isinstance(statement, Rekey) and changes and not protocol.old_key_captured:
        touched = (statement.to,)
    if changes or isinstance(statement, Publish):
        if writer.xid < 0:
            db, xid = db.begin()
            drawn = 1 + max(each.draw for each in world.writers)
            writer = writer._replace(xid=xid, draw=drawn if protocol.guard else 0)
        for key, row in changes:
            if protocol.guard and row is not None and key != NAME:
                row = (f"{row[0]}@{writer.draw}", *row[1:]) if writer.side else f"{row}@{writer.draw}"
            db = db.write(key, row, writer.xid)
        if isinstance(statement, Publish):
            db = db.say("e", (statement.event,), writer.xid)
        elif db.installed:
            db = db.say("t", touched, writer.xid)
    return _with(world.side(writer.side, db), index, writer._replace(at=writer.at + 1))


def _changes(scenario: Scenario, db: Database, writer: Writer, statement: Statement) -> list[tuple[Key, Row | None]]:
    """What the statement does to which rows, after waiting for their locks."""
    match statement:
        case Publish():
            return []
        case Rename(value):
            _await(db, writer, NAME)
            return [(NAME, value)]
        case Insert(key, value):
            assert key is not None  # noqa: S101  (drawn above)
            _await(db, writer, key)
            if db.read(key, db.now(), writer.xid) is not None:
                raise Refused("duplicate key")
            row = (value, "n") if writer.side else value
            changes: list[tuple[Key, Row | None]] = [(key, row)]
        case Update(key, value):
            held = _locked(db, writer, key)
            changes = [] if held is None else [(key, (value, *held[1:]) if writer.side else value)]
        case Delete(key):
            changes = [] if _locked(db, writer, key) is None else [(key, None)]
        case Rekey(key, to):
            held = _locked(db, writer, key)
            _await(db, writer, to)
            if held is None:
                return []
            if db.read(to, db.now(), writer.xid) is not None:
                raise Refused("duplicate key")
            changes = [(key, None), (to, held)]
        case Swap(key, other):
            one, two = _locked(db, writer, key), _locked(db, writer, other)
            if one is None or two is None:
                return []
            changes = [(key, two), (other, one)]
    if scenario.unique:
        _refuse_duplicates(db, writer, dict(changes))
    return changes


def _await(db: Database, writer: Writer, key: Key) -> None:
    if db.holder(key, writer.xid) is not None:
        raise Blocked
    chain = db.chain(key)
    if writer.snapshot is not None and chain and chain[-1][0] != writer.xid and not writer.snapshot.sees(chain[-1][0]):
        raise Refused("could not serialize access")


def _locked(db: Database, writer: Writer, key: Key) -> Row | None:
    """The row as the statement finds it once it has the lock: READ COMMITTED takes the newest version."""
    _await(db, writer, key)
    snapshot: Snapshot = writer.snapshot if writer.snapshot is not None else db.now()
    return db.read(key, snapshot, writer.xid)


def _refuse_duplicates(db: Database, writer: Writer, changes: dict[Key, Row | None]) -> None:
    values = [_value(row, writer.side) for row in changes.values() if row is not None]
    for key in db.present():
        if key in changes:
            continue
        if db.holder(key, writer.xid) is not None:
            if any(row is not None and _value(row, writer.side) in values for _, row in db.chain(key)):
                raise Blocked
        elif _value(db.read(key, db.now(), writer.xid), writer.side) in values:
            raise Refused("duplicate value")


def _value(row: Row | None, side: int) -> Row | None:
    return row[0] if side and row is not None else row


def _aborted(world: World, index: int) -> World:
    writer = world.writers[index]
    if writer.xid > 0:
        world = world.side(writer.side, world.sides[writer.side].abort(writer.xid))
    return _ended(world, index, committed=False)


def _ended(world: World, index: int, *, committed: bool) -> World:
    """Its locks fall."""
    writer = world.writers[index]
    db = world.sides[writer.side]
    db = db._replace(sharing=db.sharing - {index})
    ended = Writer(stage="committed" if committed else "ended", side=writer.side, draw=writer.draw)
    return _with(world.side(writer.side, db), index, ended)


def _with(world: World, index: int, writer: Writer) -> World:
    return world._replace(writers=(*world.writers[:index], writer, *world.writers[index + 1 :]))


def _told(statement: Statement) -> str:
    match statement:
        case Insert(key, _):
            return f"inserts {'a new key' if key is None else key}"
        case Update(key, _):
            return f"updates {key}"
        case Delete(key):
            return f"deletes {key}"
        case Rekey(key, to):
            return f"changes key {key} to {to}"
        case Swap(key, other):
            return f"swaps {key} and {other}"
        case Rename(_):
            return "renames"
        case Publish(event):
            return f"publishes {event}"
