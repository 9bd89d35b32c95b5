"""Conditions that the page of guarantees names beside corruptions: clocks apart, columns reordered, a table emptied."""

import time
from collections.abc import Iterator

import pytest

from migration_tools.verification.compare import LARGEST_REPORT
from tests.conftest import SMALL_SHOP, Pair
from tests.corruption import LINE, ORDER, unseen
from tests.integration.test_verification import MORE_ORDERS, found_in, verify_stage
from tests.races.scene import note
from tests.stage import Stage

TWO_DAYS = 2 * 86_400.0


@pytest.mark.parametrize("ahead", [TWO_DAYS, -TWO_DAYS], ids=["the sender is ahead", "the sender is behind"])
def test_clocks_that_differ_by_days_lose_nothing_and_raise_no_alarm(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """The sender's clock and those of relay, consumer and command: positions decide, no clock does."""
    stage.shop.execute(
        f"ALTER TABLE strangle_outbox ALTER occurred_at SET DEFAULT clock_timestamp() + interval '{ahead} seconds'"
    )
    here = time.time
    monkeypatch.setattr(time, "time", lambda: here() - ahead)
    stage.backfill()
    for number in (1, 2, 3):
        note(stage.shop, 7, f"by another clock {number}")
        stage.settle()
    stage.shop.execute("DELETE FROM orders_orderline WHERE order_id = 8")
    stage.settle()
    stamped = stage.shop.execute("SELECT extract(epoch FROM max(occurred_at) - now()) FROM strangle_stream").fetchone()
    assert abs(float(stamped[0]) - ahead) < 600
    assert stage.differences() == []
    assert verify_stage(stage).equal
    with unseen(stage.orders):
        stage.orders.execute(f"UPDATE {ORDER} SET remark = 'by another clock 2' WHERE id = 7")
    assert found_in(verify_stage(stage)) == {(ORDER, "7"): "lost_update"}


def test_rounding_that_nobody_declared_is_seen(stage: Stage) -> None:
    stage.backfill()
    with unseen(stage.orders):
        stage.orders.execute(f"UPDATE {LINE} SET unit_cents = round(unit_cents, -2) WHERE id = 4")
        stage.orders.execute(f"UPDATE {ORDER} SET modified_at = date_trunc('milliseconds', modified_at) WHERE id = 5")
    assert found_in(verify_stage(stage)).keys() == {(LINE, "4"), (ORDER, "5")}


@pytest.fixture
def reordered(pair: Pair) -> Iterator[Stage]:
    """A service whose lines have their columns in another order than the model and the mapping name them."""
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    with pair.connect("orders") as conn:
        conn.execute(f"ALTER TABLE {LINE} DROP COLUMN qty")
        conn.execute(f"ALTER TABLE {LINE} ADD COLUMN qty integer NOT NULL DEFAULT 0")
    made = Stage(pair)
    yield made
    made.close()


def test_columns_in_another_order_are_compared_by_their_names(reordered: Stage) -> None:
    reordered.backfill()
    assert reordered.differences() == []
    assert verify_stage(reordered).equal
    with unseen(reordered.orders):
        reordered.orders.execute(f"UPDATE {LINE} SET product_id = qty, qty = product_id WHERE id = 4")
    assert found_in(verify_stage(reordered)) == {(LINE, "4"): "changed"}


def test_a_table_that_its_owner_emptied_misses_all_its_rows(stage: Stage) -> None:
    stage.shop.execute(MORE_ORDERS)
    stage.backfill()
    (rows,) = stage.orders.execute(f"SELECT count(*) FROM {LINE}").fetchone() or (0,)
    with unseen(stage.orders):
        stage.orders.execute(f"TRUNCATE {LINE}")
    report = verify_stage(stage)
    (lines,) = [table for table in report.tables if table.target_table == LINE]
    assert {str(each.kind) for each in lines.differences} == {"missing"}
    assert rows > LARGEST_REPORT == len(lines.differences)
    assert lines.truncated == rows - LARGEST_REPORT
    assert {table for table, _ in found_in(report)} == {LINE}
