"""Schema changes while a context moves: nothing is lost, and what cannot go on says what mends it."""

from typing import Any

import pytest

from migration_tools.errors import CaptureDrift, TransferError


@pytest.fixture
def copied(stage: Any) -> Any:
    """The stage with its history copied."""
    stage.backfill()
    return stage


def test_a_column_widened_on_both_sides(copied: Any) -> None:
    copied.orders.execute("ALTER TABLE sales_orderitem ALTER qty TYPE bigint")
    copied.shop.execute("ALTER TABLE orders_orderline ALTER quantity TYPE bigint")
    copied.shop.execute("UPDATE orders_orderline SET quantity = 3 WHERE order_id = 1")
    copied.settle()
    assert copied.differences() == []


def test_an_index_built_concurrently_and_a_table_rewritten(copied: Any) -> None:
    copied.shop.execute("CREATE INDEX CONCURRENTLY notes_i ON orders_order (note)")
    copied.shop.execute("ALTER TABLE orders_order ALTER note TYPE varchar(900)")
    copied.shop.execute("VACUUM FULL orders_order")
    copied.shop.execute("UPDATE orders_order SET note = 'rewritten' WHERE id = 1")
    copied.settle()
    assert copied.differences() == []


def test_a_value_that_the_target_cannot_hold_stops_the_stream_and_loses_nothing(copied: Any) -> None:
    copied.orders.execute("ALTER TABLE sales_order ALTER remark TYPE varchar(600)")
    copied.shop.execute("UPDATE orders_order SET note = repeat('x', 601) WHERE id = 1")
    copied.tick()
    with pytest.raises(TransferError, match=r"'sales_order' does not fit: value too long.*widen the column"):
        copied.consume()
    copied.shop.execute("UPDATE orders_order SET note = 'behind it' WHERE id = 2")
    copied.orders.execute("ALTER TABLE sales_order ALTER remark TYPE text")
    copied.settle()
    assert copied.differences() == []


def test_a_column_dropped_that_a_projection_reads_stops_the_stream_with_the_remedy(copied: Any) -> None:
    copied.shop.execute("ALTER TABLE orders_orderline DROP COLUMN gift_message")
    copied.shop.execute("UPDATE orders_orderline SET quantity = 4 WHERE order_id = 1")
    with pytest.raises(CaptureDrift, match="strangle_doctor orders --mend"):
        copied.tick()


def test_a_table_renamed_and_back_again_loses_nothing(copied: Any) -> None:
    copied.shop.execute("ALTER TABLE orders_orderline RENAME TO other_name")
    copied.shop.execute("UPDATE other_name SET quantity = 8 WHERE order_id = 1")
    with pytest.raises(CaptureDrift):
        copied.tick()
    copied.shop.execute("ALTER TABLE other_name RENAME TO orders_orderline")
    copied.settle()
    assert copied.differences() == []
