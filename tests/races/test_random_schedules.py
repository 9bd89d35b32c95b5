"""Random schedules of writes, ticks, deliveries and chunks: however they interleave, both sides end equal."""

import contextlib
import os
from collections.abc import Iterable
from typing import Any

import psycopg
import pytest
from django.db import connections
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from migration_tools.capture.projector import RelationProjector
from migration_tools.errors import StreamHole
from migration_tools.messaging.batch import Batch, RowRecord
from migration_tools.messaging.inbox import apply_batch, positions
from migration_tools.messaging.relay import tick
from migration_tools.messaging.stream import head, read_batch
from migration_tools.stores.postgres import connect, django_connection
from migration_tools.transfer.copy import CopyRun, copy_relation, forget_checkpoints, whole_relations
from migration_tools.transfer.stops import Ends
from migration_tools.transfer.sync import TableWriter
from tests.races import scene
from tests.stage import STREAM, Stage

RUNS = int(os.environ.get("STRANGLE_SCHEDULES", "60" if "STRANGLE_THOROUGH" in os.environ else "20"))
STEPS = 40
ORDERS = 6  # so few that everything meets everything
KEYS = st.integers(1, ORDERS + 2)
IMPATIENT = 0  # the writer that commits each statement at once
WRITERS = st.sampled_from([IMPATIENT, IMPATIENT, IMPATIENT, 1, 2])


class Schedules(RuleBasedStateMachine):
    """Three writers, one relay, a consumer that gets batches late, twice and in pieces, a backfill in small chunks."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.writers = [self.stage.pair.connect("shop", "shop_app") for _ in range(3)]
        for conn in self.writers:
            conn.autocommit = False
            conn.execute("SET lock_timeout = '20ms'")
            conn.commit()
        self.sender, self.reader = connect("default", "schedule"), connect("default", "schedule")
        self.receiver = connect("orders", "schedule")
        self.ends = Ends(stream=STREAM, sender=self.sender, reader=self.reader, receiver=self.receiver)
        self.old: list[Batch] = []

    @initialize(copied=st.booleans())
    def begin(self, copied: bool) -> None:
        """A few orders with lines, and a service that is empty or has them all."""
        with self.stage.shop.transaction():
            self.stage.shop.execute("DELETE FROM orders_orderline")
            self.stage.shop.execute("DELETE FROM orders_order")
            for key in range(1, ORDERS + 1):
                self._insert(self.stage.shop, key)
        self._tick()
        with self.receiver.transaction():
            self.receiver.execute("SELECT set_config('strangle.applying', 'row', true)")
            for table in ("sales_orderitem", "sales_order", "sales_product", "strangle_copied_range"):
                self.receiver.execute(f"DELETE FROM {table}")
            self.receiver.execute("DELETE FROM strangle_inbox")
            self.receiver.execute(
                """INSERT INTO strangle_inbox (stream, position, rows_position, applied_records, lag_histogram)
                   VALUES (%s, %s, %s, 0, '{}')""",
                [STREAM, self._head(), self._head()],
            )
        if copied:
            self._copy_all()

    def _insert(self, conn: psycopg.Connection[Any], key: int) -> None:
        scene.there_again(conn, key)
        conn.execute(
            "INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price) SELECT %s, 1 + %s %% 10, %s, 1",
            [key, key, key],
        )

    def _write(self, writer: int, work: Any) -> None:
        """One statement or group in the writer's open transaction; who would wait for another writer gives up."""
        conn = self.writers[writer]
        with (
            contextlib.suppress(psycopg.errors.LockNotAvailable, psycopg.errors.IntegrityError),
            conn.transaction(),
        ):
            work(conn)
        if writer == IMPATIENT:
            self.commit(writer)

    @rule(writer=WRITERS, key=KEYS)
    def insert(self, writer: int, key: int) -> None:
        """Insert an order, perhaps one deleted before, and a line."""
        self._write(writer, lambda conn: self._insert(conn, key))

    @rule(writer=WRITERS, key=KEYS, text=st.sampled_from(["", "x", "ü"]))
    def update(self, writer: int, key: int, text: str) -> None:
        """Change an order."""
        self._write(writer, lambda conn: scene.note(conn, key, text))

    @rule(writer=WRITERS, key=KEYS)
    def update_lines(self, writer: int, key: int) -> None:
        """Change children only."""
        statement = "UPDATE orders_orderline SET quantity = quantity + 1 WHERE order_id = %s"
        self._write(writer, lambda conn: conn.execute(statement, [key]))

    @rule(writer=WRITERS, key=KEYS)
    def delete(self, writer: int, key: int) -> None:
        """Delete an order with its lines."""
        self._write(writer, lambda conn: scene.remove(conn, key))

    @rule(writer=WRITERS, key=KEYS, new=KEYS)
    def put_again(self, writer: int, key: int, new: int) -> None:
        """Delete and insert in one go, under the same or another key, with the same unique value."""
        self._write(writer, lambda conn: scene.put_again(conn, key, new_id=new))

    @rule(writer=WRITERS, key=KEYS, new=KEYS)
    def renumber(self, writer: int, key: int, new: int) -> None:
        """Change an order's key."""
        self._write(writer, lambda conn: scene.renumber(conn, key, new))

    @rule(writer=WRITERS, key=KEYS, other=KEYS)
    def swap(self, writer: int, key: int, other: int) -> None:
        """Let two orders exchange a unique value, which their lines are joined by."""
        if key != other:
            self._write(writer, lambda conn: scene.swap_if_both(conn, key, other))

    @rule(writer=WRITERS, key=KEYS, other=KEYS)
    def move_lines(self, writer: int, key: int, other: int) -> None:
        """Give one order's lines to another."""
        statement = """UPDATE orders_orderline SET order_id = %s WHERE order_id = %s
                         AND EXISTS (SELECT FROM orders_order WHERE id = %s)"""
        self._write(writer, lambda conn: conn.execute(statement, [other, key, other]))

    @rule(writer=WRITERS, name=st.sampled_from(["Ada", "Grace"]))
    def rename(self, writer: int, name: str) -> None:
        """Change a name that every order carries a copy of."""
        statement = "UPDATE accounts_user SET first_name = %s WHERE id = 1"
        self._write(writer, lambda conn: conn.execute(statement, [name]))

    @rule(writer=WRITERS)
    def commit(self, writer: int) -> None:
        """End a transaction; a deferred reference may refuse it."""
        try:
            self.writers[writer].commit()
        except psycopg.errors.IntegrityError:
            self.writers[writer].rollback()

    @rule(writer=WRITERS)
    def rollback(self, writer: int) -> None:
        """Undo a transaction."""
        self.writers[writer].rollback()

    @rule()
    def numbered(self) -> None:
        """The relay appends a tick."""
        self._tick()

    @rule(limit=st.integers(1, 20))
    def consumed(self, limit: int) -> None:
        """The consumer applies a part of what is numbered."""
        batch = self._batch(positions(django_connection("orders"), STREAM)[0], limit)
        apply_batch(batch, TableWriter(), using="orders")
        self.old.append(batch)

    @rule(choice=st.integers(0, 50), wire=st.booleans())
    def redelivered(self, choice: int, wire: bool) -> None:
        """A batch comes once more, as it was or through its wire form."""
        if self.old:
            batch = self.old[choice % len(self.old)]
            apply_batch(Batch.from_json(batch.to_json()) if wire else batch, TableWriter(), using="orders")

    @rule(back=st.integers(1, 30), limit=st.integers(1, 60))
    def overlapping(self, back: int, limit: int) -> None:
        """A batch begins before the position and may end behind it."""
        at = positions(django_connection("orders"), STREAM)[0]
        base = self.old[-1].first if self.old else at
        apply_batch(self._batch(max(base, at - back) if base <= at else at, limit), TableWriter(), using="orders")

    @rule()
    def too_early(self) -> None:
        """A batch behind a hole is refused and changes nothing."""
        at = positions(django_connection("orders"), STREAM)[0]
        first = self._batch(at, 1)
        later = self._batch(first.last, 5)
        if later.first > at and later.last > later.first:
            with pytest.raises(StreamHole):
                apply_batch(later, TableWriter(), using="orders")

    @rule()
    def chunk(self) -> None:
        """The backfill copies a few more rows."""
        run = self._copy()
        if run is not None:
            run._rows = 3
            next(run, None)

    @rule()
    def copy_anew(self) -> None:
        """The backfill begins anew."""
        forget_checkpoints(self.receiver, STREAM)

    def teardown(self) -> None:
        """Let everything arrive, copy the rest, and compare."""
        try:
            for number in range(3):
                self.commit(number)
            self._copy_all()
            self._tick()
            while positions(django_connection("orders"), STREAM)[0] < self._head():
                self.consumed(50)
            assert self.stage.differences() == []
        finally:
            connections.close_all()
            for conn in (*self.writers, self.sender, self.reader, self.receiver):
                conn.close()

    def _copy_all(self) -> None:
        while (run := self._copy()) is not None:
            for _ in run:
                pass

    def _copy(self) -> CopyRun | None:
        for relation in whole_relations(self.sender, STREAM):
            run = copy_relation(self.ends, relation, "schedule")
            done = self.receiver.execute(
                "SELECT done FROM strangle_copied_range WHERE projection = %s", [relation.projection]
            ).fetchone()
            if done != (True,):
                return run
        return None

    def _tick(self) -> None:
        tick(self.sender, STREAM, RelationProjector())

    def _head(self) -> int:
        return head(self.sender.cursor(), STREAM)

    def _batch(self, after: int, limit: int) -> Batch:
        return read_batch(self.sender.cursor(), STREAM, origin="monolith", after=after, limit=limit)


def run_schedules(stage: Stage, phases: Iterable[Phase]) -> None:
    """Try RUNS schedules; raises what the first that goes wrong raises."""
    Schedules.stage = stage
    run_state_machine_as_test(
        Schedules,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_schedule_of_writes_ticks_deliveries_and_chunks_ends_equal(stage: Any) -> None:
    run_schedules(stage, [Phase.generate, Phase.shrink])


def forget_ends(*_: Any) -> None:
    """A writer that deletes nothing."""


def take_out_changed_rows_only(self: TableWriter, conn: Any, relations: Any, rows: list[RowRecord]) -> None:
    """A writer that makes way for a swap, but not for a row that takes the unique value of one that ended."""
    changed = [row for row in rows if row.kind == "r"]
    for row in changed:
        self._delete(conn, relations[row.relation], [row])
    for row in changed:
        self._upsert(conn, relations[row.relation], [row])


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "naive"), [("_delete", forget_ends), ("_upsert_all", take_out_changed_rows_only)], ids=["ends", "unique"]
)
def test_schedules_find_out_a_naive_writer(stage: Any, monkeypatch: pytest.MonkeyPatch, name: str, naive: Any) -> None:
    monkeypatch.setattr(TableWriter, name, naive)
    with pytest.raises(BaseException) as caught:  # noqa: PT011  (one error, or a group of what different schedules met)
        run_schedules(stage, [Phase.generate])
    assert not isinstance(caught.value, KeyboardInterrupt)
