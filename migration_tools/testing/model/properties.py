"""What must hold in every state, and what in every state that is an end."""

from migration_tools.testing.model.database import Database
from migration_tools.testing.model.streams import mapped
from migration_tools.testing.model.transactions import Publish
from migration_tools.testing.model.world import SIDES, Scenario, World


def broken(scenario: Scenario, world: World) -> str:
    """Say what is wrong with a state; empty when nothing is."""
    if world.wrong:
        return world.wrong
    if all(world.sides[side].believes()[0] == side for side in (0, 1)):
        return "two owners: both sides may write"
    for side in (0, 1):
        wrong = _dense(world.sides[side], side) or _receiver_differs(scenario, world, side) or _twice(world, side)
        if wrong:
            return wrong
    if all(each.side == 0 for each in world.writers) and (world.sides[1].outbox or world.sides[1].ticks):
        return "what the sync applied was captured as if an application had written it"
    return ""


def unfinished(scenario: Scenario, world: World) -> str:
    """Say what is wrong with a state from which nothing goes on; empty when it is a good end."""
    for declared, writer in zip(scenario.transactions, world.writers, strict=True):
        if writer.stage not in ("committed", "ended"):
            return f"transaction {declared.name} waits for ever"
    source, target = world.sides
    if target.copied < len(scenario.chunks):
        return "the copy waits for ever"
    if world.moves_done < len(scenario.moves):
        return "the hand-over waits for ever: nobody owns the context, or its operator hangs"
    for side in (0, 1):
        sender, receiver = world.sides[side], world.sides[1 - side]
        if min(receiver.position, receiver.rows_position) < sender.head:
            return f"the consumer of the {SIDES[1 - side]} stands at {receiver.position} of {sender.head} for ever"
    ours, theirs = mapped(source, 0, source.now()), target.table(target.now())
    if scenario.moves:
        # Names follow the service's own rows by echoes, which are not modelled.
        ours, theirs = tuple((k, row[0]) for k, row in ours), tuple((k, row[0]) for k, row in theirs)
    if ours != theirs:
        return f"the sides differ at the end: {_difference(dict(ours), dict(theirs))}"
    return _effects(scenario, world)


def _dense(db: Database, side: int) -> str:
    for before, after in zip(db.ticks, db.ticks[1:], strict=False):
        if after.base != before.last:
            return f"positions of the {SIDES[side]} are not dense: {before.last} is followed by {after.base + 1}"
    return ""


def _receiver_differs(scenario: Scenario, world: World, side: int) -> str:
    """The receiver must hold exactly what its sender was at the position: the order of every key follows."""
    sender, receiver = world.sides[1 - side], world.sides[side]
    if receiver.believes()[0] == side or world.pending[side] is not None:
        return ""
    image = next((t.image for t in sender.ticks if t.last == receiver.rows_position and t.image is not None), None)
    if image is None:
        return ""
    should = dict(image)
    held = dict(receiver.table(receiver.now()))
    chunks = scenario.chunks if side == 1 else ()
    for key in {*should, *held}:
        copied = not chunks or _chunk_of(chunks, key) < receiver.copied
        if held.get(key) != should.get(key) and (copied or key in held):
            return (
                f"the {SIDES[side]} stands at position {receiver.rows_position} and differs from the "
                f"{SIDES[1 - side]} there: {_difference({key: should.get(key)}, {key: held.get(key)})}"
            )
    return ""


def _chunk_of(chunks: tuple[int | None, ...], key: int) -> int:
    return next(place for place, upto in enumerate(chunks) if upto is None or key <= upto)


def _twice(world: World, side: int) -> str:
    twice = [event for event, count in world.sides[side].effects if count > 1]
    return f"the effect of {twice[0]} happened twice" if twice else ""


def _effects(scenario: Scenario, world: World) -> str:
    for declared, writer in zip(scenario.transactions, world.writers, strict=True):
        happened = dict(world.sides[1 - writer.side].effects)
        for statement in declared.statements:
            if isinstance(statement, Publish):
                times = happened.get(statement.event, 0)
                if times != (writer.stage == "committed"):
                    return f"the effect of {statement.event} happened {times} times; {declared.name} {writer.stage}"
    return ""


def _difference(ours: dict[int, object], theirs: dict[int, object]) -> str:
    parts = []
    for key in sorted({*ours, *theirs}):
        if ours.get(key) != theirs.get(key):
            kind = "lost" if key not in theirs or theirs[key] is None else "changed"
            kind = "resurrected or invented" if ours.get(key) is None else kind
            parts.append(f"row {key} is {kind} ({ours.get(key)!r} against {theirs.get(key)!r})")
    return "; ".join(parts)
