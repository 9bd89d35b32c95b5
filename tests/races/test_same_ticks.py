"""Triggers and the log, installed at once, name the same keys in the same tick, whatever is written and however.

What is equal, exactly. Per tick and table: the set of touched keys of own relations, and whether each is an echo. The
reported values that dependants are found by are the same where the table's replica identity is FULL; otherwise the
log cannot tell which column changed, so it reports every update and the triggers' are among its values. Rows are read
by key in the tick's snapshot, so equal keys are equal records, and per key the two sources give one sequence of states.
"""

import os
import random
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from migration_tools.capture.applying import mark_applying
from migration_tools.capture.declaration import TableSpec
from migration_tools.capture.models import Side
from migration_tools.capture.projector import RelationProjector
from migration_tools.capture.triggers import create_statements
from migration_tools.messaging.relay import tick
from migration_tools.messaging.ticks import Touch
from migration_tools.stores.postgres import connect
from tests.integration.test_log import logged
from tests.races.scene import Background, put_again, remove, renumber, swap_if_both
from tests.stage import STREAM, Stage

pytestmark = pytest.mark.thorough

__all__ = ["logged"]

WRITERS, STEPS = 3, 45
# make test-thorough tries more of them.
SEEDS = range(1, 9 if "STRANGLE_THOROUGH" in os.environ else 2)


class BothSources(RelationProjector):
    """Compares what the log says in each tick with what the outbox says."""

    def __init__(self, exact: bool):
        super().__init__()
        self.exact = exact
        self.compared = 0
        self.echoes = 0
        self.differences: list[Any] = []
        self._by_log: list[Touch] = []

    def logged(self, conn: Any, *, stream: str, previous: str | None) -> list[Touch]:
        self._by_log = super().logged(conn, stream=stream, previous=previous)
        return self._by_log

    def project(self, conn: Any, *, stream: str, tick: int, base: int, touches: Sequence[Touch]) -> int:
        by_log, by_triggers = self._by_log, [t for t in touches if all(t is not each for each in self._by_log)]
        ours, theirs = _named(by_log, "b"), _named(by_triggers, "b")
        if ours != theirs:
            self.differences.append((tick, "keys", ours ^ theirs))
        more, some = _named(by_log, "d"), _named(by_triggers, "d")
        if not some <= more or (self.exact and some != more):
            self.differences.append((tick, "reported", some ^ more))
        self.compared += len(ours)
        self.echoes += sum(echo for _, echo, _ in ours)
        return super().project(conn, stream=stream, tick=tick, base=base, touches=by_log)


def _named(touches: Sequence[Touch], part: str) -> set[tuple[str, bool, tuple[str, ...]]]:
    """(table, echo, values); nothing depends on NULL, which triggers report for the row that an insert lacks."""
    named = {(t.table, t.echo, tuple(key)) for t in touches for key in t.keys.get(part, ())}
    return {each for each in named if any(value is not None for value in each[2])}


@pytest.fixture(params=["default", "full"])
def both(request: Any, logged: Stage) -> tuple[Stage, bool]:
    """Capture from the log and by triggers at once."""
    specs = [t for t in logged.compiled.source.tables if t.captured]
    for spec in specs:
        if request.param == "full":
            logged.shop.execute(f"ALTER TABLE {spec.table} REPLICA IDENTITY FULL")
        for statement in create_statements(_only_capture(spec), owner="shop_owner", side=Side.SOURCE, layout=0):
            if b"TRUNCATE" not in statement.as_bytes() and b"_trunc" not in statement.as_bytes():
                logged.shop.execute(statement)
    logged.backfill()
    return logged, request.param == "full"


def _only_capture(spec: TableSpec) -> TableSpec:
    return replace(spec, logged=False, fence=None)


@pytest.mark.parametrize("seed", SEEDS)
def test_both_sources_name_the_same_keys_in_every_tick(both: tuple[Stage, bool], seed: int) -> None:
    stage, exact = both
    stop = threading.Event()
    projector = BothSources(exact)

    def number() -> None:
        with connect("default", "test") as conn:
            while not stop.is_set():
                tick(conn, STREAM, projector)
            tick(conn, STREAM, projector)

    numbering = Background(number)
    writers = [Background(lambda n=n: write(stage, seed * 100 + n)) for n in range(WRITERS)]  # type: ignore[misc]
    try:
        for writer in writers:
            writer.outcome()
    finally:
        stop.set()
        numbering.outcome()
    assert projector.differences == []
    assert projector.compared > WRITERS * STEPS // 2
    assert projector.echoes
    # What was marked as come from the other side was not there before: touched again, it is.
    stage.shop.execute("UPDATE orders_order SET note = note")
    stage.settle()
    assert stage.differences() == []


def write(stage: Stage, seed: int) -> None:
    """Random transactions over a few shared orders: savepoints, rollbacks, key changes, swaps, what may not be done."""
    dice = random.Random(seed)
    # As the owner: what it marks as the apply path's own is believed.
    with stage.pair.connect("shop", "shop_owner") as conn:
        for number in range(STEPS):
            conn.execute("SELECT set_config('synchronous_commit', %s, false)", [dice.choice(["on", "off"])])
            try:
                with conn.transaction(force_rollback=dice.random() < 0.1):
                    for _ in range(dice.randrange(1, 4)):
                        with conn.transaction(force_rollback=dice.random() < 0.2):
                            _step(conn, dice, number)
                    threading.Event().wait(dice.choice([0, 0, 0.002]))
            except (psycopg.errors.DeadlockDetected, psycopg.errors.IntegrityError, ValueError):
                # The last: one of two orders to swap was deleted between looking and swapping.
                continue


def _step(conn: psycopg.Connection[Any], dice: random.Random, number: int) -> None:
    order, other = dice.randrange(1, 25), dice.randrange(1, 25)
    match dice.randrange(11):
        case 0 | 1:
            conn.execute("UPDATE orders_order SET note = %s WHERE id = %s", [str(number), order])
        case 2:
            conn.execute("UPDATE orders_order SET total = total + 1 WHERE id BETWEEN %s AND %s", [order, order + 5])
        case 3:
            remove(conn, order)
        case 4:
            put_again(conn, order)
        case 5:
            renumber(conn, order, 50_000 + dice.randrange(1_000_000))
        case 6:
            swap_if_both(conn, order, other)
        case 7:
            conn.execute("UPDATE accounts_user SET last_name = %s WHERE id = %s", [str(number), 1 + order % 20])
        case 8:
            conn.execute("UPDATE accounts_user SET email = %s WHERE id = %s", [f"{dice.random()}@x", 1 + order % 20])
        case 9:
            # What comes back from the other side: an echo, and a patch that is none. The mark ends with the savepoint.
            with conn.transaction(force_rollback=dice.random() < 0.3):
                mark_applying(conn, dice.choice(["row", "row", "patch"]))
                conn.execute("UPDATE orders_order SET note = 'back' WHERE id = %s", [other])
            mark_applying(conn, "")
            conn.execute("UPDATE orders_orderline SET quantity = quantity + 1 WHERE order_id = %s", [order])
        case _:
            # Refused by the trigger, or before that because deferred references wait.
            refusals = (psycopg.errors.FeatureNotSupported, psycopg.errors.ObjectInUse)
            with pytest.raises(refusals), conn.transaction():
                conn.execute("TRUNCATE orders_orderline")
