"""A touch waits in the outbox while the playbook is mended: its places mean what they meant when it was written."""

from typing import Any

from migration_tools.capture.layouts import TouchReader, source_of
from migration_tools.messaging.ticks import Touch
from migration_tools.stores.postgres import connect


def test_touch_written_then_columns_reported_in_another_order_then_read(stage: Any) -> None:
    with connect("default", "test") as conn:
        old = conn.execute(
            """INSERT INTO strangle_layout (stream, table_name, relation, key_columns, key_numbers, reported_columns,
                   reported_numbers)
               SELECT 'orders', 'orders_orderline', attrelid::bigint, '{id}', '{1}', '{order_id,product_id}',
                   array_agg(attnum ORDER BY attname) FROM pg_attribute
               WHERE attrelid = 'orders_orderline'::regclass AND attname IN ('order_id', 'product_id')
               GROUP BY attrelid RETURNING id"""
        ).fetchone()
        assert old is not None
        touch = Touch(table="orders_orderline", echo=False, keys={"d": [["7", "3"]], "l": old[0]}, occurred=0.0)
        stage.shop.execute("ALTER TABLE orders_orderline RENAME product_id TO item_id")
        # As compiled from the mended playbook: sorted by name, the renamed column now comes first.
        item = {"place": 0, "column": "item_id", "source": source_of(conn, "orders_orderline", "item_id")}
        order = {"place": 1, "column": "order_id", "source": source_of(conn, "orders_orderline", "order_id")}
        reader = TouchReader(conn, "orders", [touch])
        assert list(reader.values(touch, item)) == ["3"]
        assert list(reader.values(touch, order)) == ["7"]
        naive = Touch(table="orders_orderline", echo=False, keys={"d": [["7", "3"]]}, occurred=0.0)
        assert list(reader.values(naive, item)) == ["7"], "read by place alone: another row's key"
