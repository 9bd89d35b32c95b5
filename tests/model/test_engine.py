"""The order of steps that the model is written with, held to the engine's own: seen at its points, with its locks.

The model says the order of steps a second time, and would prove nothing of an engine whose order has been changed. So
a real copy, hand-over and rollback are watched at their named points from a connection of the test's own: which locks
are held there, and who each side believes to be the owner. The model's operators, walked straight, must show the same.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections

from migration_tools.capture.models import Side
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass, lock_keys
from migration_tools.phases import handover
from migration_tools.phases.handover import hand_over
from migration_tools.phases.surroundings import surroundings
from migration_tools.playbook.registry import get
from migration_tools.testing.model.exploration import next_steps
from migration_tools.testing.model.protocol import Protocol
from migration_tools.testing.model.transactions import Update, transaction
from migration_tools.testing.model.world import Scenario, World, settled
from migration_tools.transfer.copy import copy_relation, whole_relations
from tests.stage import STREAM, Stage

# (step, locks held, owner as the monolith believes, owner as the service believes)
Moment = tuple[str, frozenset[str], str, str]

# Point of the engine → the model's step, and whether it is seen before the step or after it.
SEEN = {
    "handover.locked": ("locks the fence", "after"),
    "tick.before_commit": ("commits the tick", "before"),
    "stop.drained": ("drains", "after"),
    "copy.before_commit": ("commits chunk", "before"),
    "handover.before_close": ("closes", "before"),
    "handover.closed": ("closes", "after"),
    "handover.opened": ("opens", "after"),
}
LOCKS = {LockClass.GATE: "gate", LockClass.FENCE: "fence", LockClass.TICK: "tick"}
SIDES = ("monolith", "service")
NOTE = "UPDATE orders_order SET note = note || '.' WHERE id < 5"
REMARK = "UPDATE sales_order SET remark = remark || '.' WHERE id < 5"


class Watch:
    """What the engine does at its points."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.moments: list[Moment] = []

    def note(self, point: str) -> None:
        held: set[str] = set()
        owners = []
        for side, conn in (("monolith", self.stage.shop), ("service", self.stage.orders)):
            held |= {f"{name} of the {side}" for name in self._held(conn)}
            row = conn.execute("SELECT owner FROM strangle_ownership WHERE context = %s", [STREAM]).fetchone()
            owners.append(SIDES[row[0] == "target"])
        step, when = SEEN[point]
        self.moments.append((f"{when} {step}", frozenset(held), owners[0], owners[1]))

    def _held(self, conn: Any) -> Iterator[str]:
        for purpose, name in LOCKS.items():
            first, second = lock_keys(purpose, STREAM)
            found = conn.execute(
                """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'
                   AND classid::bigint = %s AND objid::bigint = %s
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
                [first, second & 0xFFFF_FFFF],
            ).fetchone()
            if found[0]:
                yield name

    @contextmanager
    def watching(self) -> Iterator[None]:
        with ExitStack() as stack:
            for point in SEEN:
                stack.enter_context(points.on(point, lambda point=point: self.note(point)))
            yield


@contextmanager
def consuming(stage: Stage, *, reverse: bool) -> Iterator[None]:
    """A consumer without a relay: every tick is the operator's."""
    stop = threading.Event()
    consumer = stage.consumer(reverse=reverse)

    def run() -> None:
        try:
            consumer.run(stop)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        consumer.feed.close()


def engine_moments(stage: Stage) -> tuple[int, list[Moment]]:
    """How many chunks there were, and what was seen of them, of a cutover and of its rollback."""
    watch = Watch(stage)
    chunks = 0
    with watch.watching(), stage.ends() as ends:
        for relation in whole_relations(ends.sender, STREAM):
            for _ in copy_relation(ends, relation, "test", pause=lambda: stage.shop.execute(NOTE)):
                chunks += 1
    stage.settle()
    with consuming(stage, reverse=False), consuming(stage, reverse=True), surroundings(get(STREAM), purpose="t") as env:
        for to, conn, write in ((Side.TARGET, stage.shop, NOTE), (Side.SOURCE, stage.orders, REMARK)):
            with watch.watching(), late_write(conn, write):
                hand_over(env, to)
    return chunks, watch.moments


@contextmanager
def late_write(conn: Any, statement: str) -> Iterator[None]:
    """A write after the tail was made short, so that the hand-over's own tick has news."""
    shorten = handover._shorten_tail

    def shorten_and_write(*args: Any) -> None:
        shorten(*args)
        conn.execute(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handover, "_shorten_tail", shorten_and_write)
        yield


def model_moments(chunks: int, protocol: Protocol | None = None) -> list[Moment]:
    """The same of the model, its operators walked straight, each ahead of everybody else."""
    scenario = Scenario(
        name="straight",
        rows=tuple((key, "a") for key in range(1, chunks + 1)),
        chunks=(*range(1, chunks), None),
        moves=(1, 0),
        transactions=(transaction("T", Update(1, "b")),),
        protocol=protocol or Protocol(),
    )
    world = settled(scenario.begin())
    found: list[Moment] = []
    ended = False
    while not ended:
        steps = [step for step in next_steps(scenario, world) if "dies" not in step[0] and "gives up" not in step[0]]
        mine = [step for step in steps if step[0].startswith(("copy: ", "move: "))]
        ended = not steps
        if steps:
            label, after = (mine or steps)[0]
            found += _moments(label, world, after)
            world = settled(after)
    return found


def _moments(label: str, before: World, after: World) -> Iterator[Moment]:
    who, _, what = label.partition(": ")
    for step, when in SEEN.values():
        if who in ("copy", "move") and what.startswith(step):
            world = before if when == "before" else after
            locks = {
                f"{name} of the {SIDES[side]}"
                for side, db in enumerate(world.sides)
                for name in LOCKS.values()
                if getattr(db, f"{name}_lock")
            }
            owners = [SIDES[db.believes()[0]] for db in world.sides]
            yield f"{when} {step}", frozenset(locks), owners[0], owners[1]


def test_the_engine_takes_the_steps_that_the_model_explores(stage: Any) -> None:
    chunks, seen = engine_moments(stage)
    assert chunks >= 2
    assert seen == model_moments(chunks)
    behind = frozenset({"gate of the service", "fence of the monolith", "tick of the monolith"})
    assert ("before commits the tick", behind, "monolith", "monolith") in seen
    assert ("after closes", frozenset(), "service", "monolith") in seen


CHANGES: dict[str, Callable[[], Protocol]] = {
    "no gate": lambda: replace(Protocol(), gate=False),
    "no drain": lambda: replace(Protocol(), drained=False),
    "the new owner is opened first": lambda: replace(Protocol(), close_first=False),
    "drained ahead of the lock": lambda: replace(Protocol(), drain_behind_lock=False),
    "no lock of the tick": lambda: replace(Protocol(), tick_lock=False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_of_another_order_is_seen(change: str) -> None:
    assert model_moments(2, CHANGES[change]()) != model_moments(2)


def test_an_engine_of_another_order_is_seen(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hand-over that opens the new owner before it closes the old one: what one writes first."""
    close = handover._close

    def open_first(env: Any, ends: Any, fence: Any, to: Side, epoch: int, sequences: Any) -> tuple[int, int]:
        handover.set_owner(ends.receiver, env.context, to, epoch)
        return close(env, ends, fence, to, epoch, sequences)

    monkeypatch.setattr(handover, "_close", open_first)
    chunks, seen = engine_moments(stage)
    assert seen != model_moments(chunks)
