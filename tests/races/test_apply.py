"""An apply takes the gate before its row of the inbox, in one statement; and reads the catalogue again when it must."""

from contextlib import closing
from typing import Any

import psycopg
import pytest

from migration_tools.errors import TransferError
from migration_tools.kernel.locks import LockClass, lock_keys
from migration_tools.messaging import inbox
from migration_tools.messaging.consumer import Consumer
from migration_tools.stores.postgres import connect
from migration_tools.transfer.sync import TableWriter
from tests.races.scene import Background, note, remark, until, waiters
from tests.stage import STREAM, DirectFeed

GATE = lock_keys(LockClass.GATE, STREAM)
# Both locks in the other order, which reads as naturally.
ROW_FIRST = """WITH locked AS MATERIALIZED (SELECT * FROM strangle_inbox WHERE stream = %s FOR UPDATE)
    SELECT position, rows_position, identity, lag_histogram FROM locked
    WHERE pg_advisory_xact_lock_shared(%s, %s) IS NOT NULL"""


def operator_takes_the_gate_then_consumer_comes_then_operator_locks_the_row(stage: Any) -> None:
    """As an exact stop does it: the gate is held, and the inbox is read under a lock behind it."""
    stage.settle()
    note(stage.shop, 1, "through the gate")
    stage.tick()
    with connect("orders", "operator") as operator:
        operator.execute("SELECT pg_advisory_lock(%s, %s)", GATE)
        consuming = Background(stage.consume)
        until(lambda: waiters(stage.orders, LockClass.GATE) == 1, "the consumer is at the gate")
        try:
            with operator.transaction():
                operator.execute("SELECT FROM strangle_inbox WHERE stream = %s FOR UPDATE NOWAIT", [STREAM])
                operator.execute("UPDATE strangle_inbox SET standstill = '' WHERE stream = %s", [STREAM])
        finally:
            operator.execute("SELECT pg_advisory_unlock(%s, %s)", GATE)
            consuming.outcome()
    assert remark(stage, 1) == "through the gate"


def test_operator_takes_the_gate_then_consumer_comes_then_operator_locks_the_row(stage: Any) -> None:
    operator_takes_the_gate_then_consumer_comes_then_operator_locks_the_row(stage)


def test_with_the_row_first_the_operator_finds_it_locked(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "_PLACE_BEHIND_GATE", ROW_FIRST)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        operator_takes_the_gate_then_consumer_comes_then_operator_locks_the_row(stage)


def test_catalogue_is_read_then_a_unique_index_is_made_then_rows_swap_its_values(stage: Any) -> None:
    def buy(conn: Any, amounts: dict[int, int]) -> None:
        for line, amount in amounts.items():
            conn.execute("UPDATE orders_orderline SET quantity = %s WHERE id = %s", [amount, line])

    stage.backfill()
    one, two = (row[0] for row in stage.shop.execute("SELECT id FROM orders_orderline ORDER BY id LIMIT 2"))
    with closing(DirectFeed("default", "default")) as feed:
        consumer = Consumer(STREAM, feed, TableWriter(), using="orders")
        buy(stage.shop, {one: 101, two: 102})
        stage.tick()
        consumer.step(0)
        stage.orders.execute("CREATE UNIQUE INDEX made_meanwhile ON sales_orderitem (qty) WHERE qty > 100")
        with stage.shop.transaction():
            buy(stage.shop, {one: 102, two: 101})
        stage.tick()
        with pytest.raises(psycopg.errors.UniqueViolation):
            consumer.step(0)
        consumer.step(0)
    found = stage.orders.execute("SELECT id, qty FROM sales_orderitem WHERE qty > 100 ORDER BY id").fetchall()
    assert found == [(one, 102), (two, 101)]


def test_a_failure_that_the_pipe_tells_of_another_table_is_not_believed(stage: Any) -> None:
    """An earlier statement's failure may come up at a later one; step by step it is told where it is, or is none."""

    class ToldLate(TableWriter):
        piped = 0

        def apply(self, conn: Any, *batch: Any) -> int:
            if conn.pgconn.pipeline_status:
                self.piped += 1
                raise TransferError(
                    "a row for 'another table' does not fit"
                ) from psycopg.errors.StringDataRightTruncation()
            return super().apply(conn, *batch)

    stage.settle()
    note(stage.shop, 1, "step by step")
    stage.tick()
    writer = ToldLate()
    with closing(DirectFeed("default", "default")) as feed:
        Consumer(STREAM, feed, writer, using="orders").step(0)
    assert writer.piped == 1
    assert remark(stage, 1) == "step by step"
