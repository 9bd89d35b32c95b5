"""The steps of the operator's commands: installing capture, copying chunks, handing over; each may die at any step."""

from migration_tools.kernel.ownership import Resume
from migration_tools.kernel.positions import fresh
from migration_tools.testing.model.database import Database
from migration_tools.testing.model.streams import append_tick, apply_rows, begin_tick, mapped
from migration_tools.testing.model.world import SIDES, Operator, Scenario, World
from migration_tools.testing.model.writers import Steps

SEQUENCE_MARGIN = 1


def install_steps(scenario: Scenario, world: World) -> Steps:
    """CREATE TRIGGER waits for transactions that have written the table; later ones fire the trigger."""
    db = world.sides[0]
    if db.installed or (scenario.protocol.install_waits and any(db.holder(key) is not None for key in db.present())):
        return []
    return [("capture is installed", world.side(0, db._replace(installed=True)))]


def copier_steps(scenario: Scenario, world: World) -> Steps:
    """A chunk: the stop, the tick, the drain, the rows with their checkpoint; see Note [exact stops]."""
    protocol, op, (source, target) = scenario.protocol, world.copier, world.sides
    if (op.step == "start" and target.copied >= len(scenario.chunks)) or not source.installed:
        return []
    match op.step:
        case "start":
            if target.gate_lock:
                return []
            held = target._replace(gate_lock="copy") if protocol.gate else target
            reader = source.now() if protocol.chunk_snapshot == "before" else None
            if reader is not None:
                op = Operator("tick", begin_tick(protocol, source, 0)._replace(tick=None, reader=reader))
                return [("copy: reads the chunk, before a tick", world.side(1, held)._replace(copier=op))]
            return _tick(scenario, world.side(1, held), "copy", 0)
        case "tick":
            return _tick(scenario, world, "copy", 0)
        case "snapshot":
            steps = _append(scenario, world, "copy", 0, "ticked" if protocol.drained else "drained")
        case "ticked":
            steps = _drain(scenario, world, "copy", 0)
        case "drained" if not protocol.checkpoint_with_rows:
            early = world.side(1, target._replace(copied=target.copied + 1))._replace(copier=op._replace(step="late"))
            steps = [("copy: commits the checkpoint alone", early)]
        case _:
            steps = [(f"copy: commits chunk {target.copied + (op.step != 'late')}", _chunk(scenario, world))]
    return [*steps, *_death(world, "copy")]


def _chunk(scenario: Scenario, world: World) -> World:
    """transfer.merge: the key range becomes equal to the chunk."""
    target, op = world.sides[1], world.copier
    assert op.stop is not None  # noqa: S101  (set with the tick)
    done = target.copied - (op.step == "late")
    after = scenario.chunks[done - 1] if done else 0
    upto = scenario.chunks[done]

    def within(key: int) -> bool:
        return (after is None or key > after) and (upto is None or key <= upto)

    chunk = {key: row for key, row in mapped(world.sides[0], 0, op.stop.reader) if within(key)}
    held = dict(target.table(target.now()))
    if scenario.protocol.chunk_deletes:
        changes = [(key, chunk.get(key)) for key in sorted({*chunk, *held}) if within(key)]
    else:
        changes = [(key, row) for key, row in chunk.items() if key not in held]
    changes = [(key, row) for key, row in changes if held.get(key) != row]
    if changes:
        target = target.put(changes)
    world = world.side(1, target._replace(copied=done + 1))
    return _released(world, "copy")._replace(copier=Operator())


def mover_steps(scenario: Scenario, world: World) -> Steps:
    """phases.handover; see Note [hand-over]."""
    if world.moves_done >= len(scenario.moves) or world.sides[1].copied < len(scenario.chunks):
        return []
    protocol, op, to = scenario.protocol, world.mover, scenario.moves[world.moves_done]
    sender, receiver = world.sides[1 - to], world.sides[to]
    match op.step:
        case "start":
            return _resume(scenario, world, to)
        case "tick":
            steps = _tick(scenario, world, "move", 1 - to)
        case "snapshot":
            steps = _append(scenario, world, "move", 1 - to, "ticked")
        case "ticked":
            steps = _drain(scenario, world, "move", 1 - to)
        case "drained":
            steps = _close(scenario, world, to)
        case "closed":
            steps = []
            if receiver.position >= op.upto or not protocol.await_events:
                early = f"the {SIDES[to]} was opened before it had handled the last events"
                wrong = early if receiver.position < op.upto else world.wrong
                closed = world.side(1 - to, sender.set_owner(to, op.epoch))
                opening = closed._replace(mover=op._replace(step="opening"), wrong=wrong)
                steps.append((f"move: the events are handled; the {SIDES[1 - to]} stays closed", opening))
            elif world.gave_up:
                back = world.side(1 - to, sender.set_owner(1 - to, op.epoch + 1))
                back = back._replace(mover=op._replace(step="reopening"), gave_up=world.gave_up - 1)
                steps.append((f"move: gives up; the {SIDES[1 - to]} is opened again", back))
        case "reopening":
            back = world.side(to, receiver.set_owner(1 - to, op.epoch + 1))
            steps = [("move: gave up", back._replace(mover=Operator()))]
        case _:
            steps = [(f"move: opens the {SIDES[to]}", _opened(world, to, op.epoch))]
    return [*steps, *_death(world, "move")]


def _resume(scenario: Scenario, world: World, to: int) -> Steps:
    protocol, sender, receiver = scenario.protocol, world.sides[1 - to], world.sides[to]
    todo = protocol.resume(closing_writes=sender.believes()[0] == 1 - to, opening_writes=receiver.believes()[0] == to)
    epoch = protocol.next_epoch(sender.believes()[1], receiver.believes()[1])
    if todo is Resume.DONE:
        return [("move: finds it done", world._replace(moves_done=world.moves_done + 1))]
    if receiver.gate_lock:
        return []
    behind_lock = todo is Resume.ATTEMPT and protocol.fence_lock and protocol.drain_behind_lock
    if behind_lock:
        if sender.sharing:
            return []
        world = world.side(1 - to, sender._replace(fence_lock="move"))
    world = world.side(to, receiver._replace(gate_lock="move"))
    what = "locks the fence" if behind_lock else "takes it up where nobody writes"
    step = "tick" if protocol.drain else "drained"
    return [(f"move: {what}", world._replace(mover=Operator(step, epoch=epoch)))]


def _close(scenario: Scenario, world: World, to: int) -> Steps:
    """Close the old owner in the commit that lets the lock go."""
    op, sender, receiver = world.mover, world.sides[1 - to], world.sides[to]
    if scenario.protocol.fence_lock and not scenario.protocol.drain_behind_lock and sender.sharing:
        return []
    value = scenario.protocol.key_to_draw_from(receiver.next_key - 1, sender.next_key - 1, SEQUENCE_MARGIN)
    if value is not None:
        receiver = receiver._replace(next_key=value + 1)
    if not scenario.protocol.close_first and receiver.believes()[0] != to:
        early = world.side(to, receiver.set_owner(to, op.epoch))
        return [(f"move: opens the {SIDES[to]}", early)]
    world = world.side(to, receiver).side(1 - to, sender.set_owner(to, op.epoch))
    closed = _released(world, "move")._replace(mover=op._replace(step="closed", stop=None))
    return [(f"move: closes the {SIDES[1 - to]}", closed)]


def _opened(world: World, to: int, epoch: int) -> World:
    """Images are of an owner's time: they say nothing about what the next owner writes."""
    world = world.side(to, world.sides[to].set_owner(to, epoch))
    for side in (0, 1):
        ticks = tuple(tick._replace(image=None) for tick in world.sides[side].ticks)
        world = world.side(side, world.sides[side]._replace(ticks=ticks))
    return world._replace(mover=Operator(), moves_done=world.moves_done + 1)


def _tick(scenario: Scenario, world: World, who: str, side: int) -> Steps:
    """transfer.stops: a tick of our own, whose snapshot is exported."""
    db = world.sides[side]
    if db.tick_lock:
        return []
    op = world.copier if who == "copy" else world.mover
    stop = begin_tick(scenario.protocol, db, side)
    early = op.stop.reader if op.stop is not None else None
    stop = stop._replace(reader=early if early is not None else stop.snapshot)
    if scenario.protocol.tick_lock:
        world = world.side(side, db._replace(tick_lock=who))
    return [(f"{who}: takes a tick's snapshot", _operator(world, who, op._replace(step="snapshot", stop=stop)))]


def _append(scenario: Scenario, world: World, who: str, side: int, then: str) -> Steps:
    op = world.copier if who == "copy" else world.mover
    assert op.stop is not None  # noqa: S101  (set with the tick)
    db = append_tick(scenario.protocol, _unlocked(world.sides[side], who), side, op.stop)
    world = _operator(world.side(side, db), who, op._replace(step=then, upto=db.head))
    return [(f"{who}: commits the tick", world)]


def _drain(scenario: Scenario, world: World, who: str, side: int) -> Steps:
    """Apply the rows up to the stop; events stay for the consumer."""
    op = world.copier if who == "copy" else world.mover
    receiver = world.sides[1 - side]
    records = [each for tick in world.sides[side].ticks for each in tick.records if each.kind != "e"]
    rows = [each for each in fresh(records, receiver.rows_position) if each.position <= op.upto]
    applied = apply_rows(scenario, receiver, 1 - side, rows)
    if applied is None:
        return []
    applied = applied._replace(rows_position=max(applied.rows_position, op.upto))
    return [(f"{who}: drains", _operator(world.side(1 - side, applied), who, op._replace(step="drained")))]


def _death(world: World, who: str) -> Steps:
    """Kill -9: locks fall with the connections, what was committed stays."""
    if not world.crashes:
        return []
    dead = _operator(_released(world, who), who, Operator())
    return [(f"{who}: dies", dead._replace(crashes=world.crashes - 1))]


def _operator(world: World, who: str, op: Operator) -> World:
    return world._replace(copier=op) if who == "copy" else world._replace(mover=op)


def _released(world: World, who: str) -> World:
    source, target = (_unlocked(db, who, all_locks=True) for db in world.sides)
    return world._replace(sides=(source, target))


def _unlocked(db: Database, who: str, *, all_locks: bool = False) -> Database:
    if db.tick_lock == who:
        db = db._replace(tick_lock="")
    if all_locks and db.gate_lock == who:
        db = db._replace(gate_lock="")
    if all_locks and db.fence_lock == who:
        db = db._replace(fence_lock="")
    return db
