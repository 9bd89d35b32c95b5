"""Capture and ticks on real databases: everything written is seen, whoever writes it and however."""

import threading
from typing import Any

import psycopg
import pytest

from migration_tools.capture.installation import Status, inspect
from migration_tools.errors import CaptureDrift, PlaybookError
from migration_tools.playbook.compiled import compile_playbook
from migration_tools.playbook.registry import get
from migration_tools.stores.postgres import connect


def test_what_is_declared_is_installed_and_seen_as_installed(stage: Any) -> None:
    with connect("default", "test") as source, connect("orders", "test") as target:
        for conn, spec in ((source, stage.compiled.source), (target, stage.compiled.target)):
            findings = inspect(conn, spec)
            assert findings
            assert {f.status for f in findings} == {Status.INSTALLED}, findings


WRITES = {
    "insert": "INSERT INTO orders_order (public_id, user_id, status, total, currency, client_reference, "
    "shipping_address, placed_at, "
    "updated_at) VALUES (gen_random_uuid(), 1, 'placed', 9.99, 'EUR', 'x', '{}', now(), now())",
    "update of many": "UPDATE orders_order SET note = 'bulk' WHERE id < 200",
    "update through a join": "UPDATE orders_order o SET note = u.email FROM accounts_user u WHERE u.id = o.user_id",
    "delete with "
    "lines": "WITH gone AS (DELETE FROM orders_orderline WHERE order_id = 7) DELETE FROM orders_order WHERE id = 7",
    "upsert": "INSERT INTO orders_order (id, public_id, user_id, status, total, currency, client_reference, "
    "shipping_address, placed_at, "
    "updated_at) VALUES (5, gen_random_uuid(), 1, 'placed', 9.99, 'EUR', 'x', '{}', now(), now()) "
    "ON CONFLICT (id) DO UPDATE SET total = 12.34",
    "merge": "MERGE INTO orders_order o USING (VALUES (3), (999999)) v(id) ON o.id = v.id WHEN MATCHED THEN UPDATE "
    "SET note = 'merged'",
    "rename of a customer": "UPDATE accounts_user SET first_name = 'Zoë 🎈' WHERE id = 3",
    "key change of a line": "UPDATE orders_orderline SET id = id + 100000 WHERE order_id = 9",
    "swap of unique "
    "values": "UPDATE orders_order o SET public_id = CASE o.id WHEN 1 THEN gen_random_uuid() ELSE o.public_id END",
    "price of a product": "UPDATE catalog_product SET price = price + 1, name = name || '''s'",
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_of_any_form_reaches_the_service(stage: Any, name: str) -> None:
    stage.backfill()
    assert stage.differences() == []
    stage.shop.execute(WRITES[name])
    stage.settle()
    assert stage.differences() == []


def test_copy_into_a_captured_table_is_seen(stage: Any) -> None:
    stage.backfill()
    with stage.shop.cursor().copy(
        "COPY orders_orderline (order_id, product_id, quantity, unit_price) FROM STDIN"
    ) as copy:
        for order in range(1, 50):
            copy.write_row((order, 1, 3, "0.10"))
    stage.settle()
    assert stage.differences() == []


def test_a_cascade_made_by_postgresql_is_seen(stage: Any) -> None:
    stage.shop.execute("ALTER TABLE orders_orderline DROP CONSTRAINT IF EXISTS cascade_test")
    stage.shop.execute(
        "ALTER TABLE orders_orderline ADD CONSTRAINT cascade_test FOREIGN KEY (order_id) REFERENCES orders_order ON "
        "DELETE CASCADE"
    )
    stage.backfill()
    stage.shop.execute("DELETE FROM orders_order WHERE id BETWEEN 10 AND 20")
    stage.settle()
    assert stage.differences() == []


def test_truncate_of_a_captured_table_is_refused(stage: Any) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="refused while"):
        stage.shop.execute("TRUNCATE orders_orderline")


def test_a_rolled_back_savepoint_leaves_no_event(stage: Any) -> None:
    stage.settle()
    head = stage.tick()
    with stage.shop.transaction():
        try:
            with stage.shop.transaction():
                stage.shop.execute("UPDATE orders_order SET note = 'never' WHERE id = 1")
                raise LookupError
        except LookupError:
            pass
    assert stage.tick() == head


def test_a_transaction_that_commits_late_is_in_a_later_tick_and_not_lost(stage: Any) -> None:
    """The cursor trap: a lower sequence number becomes visible after a higher one was read."""
    stage.backfill()
    with stage.pair.connect("shop") as early:
        early.autocommit = False
        early.execute("UPDATE orders_order SET note = 'early' WHERE id = 1")
        stage.shop.execute("UPDATE orders_order SET note = 'late' WHERE id = 2")
        stage.settle()
        early.commit()
    stage.settle()
    assert stage.differences() == []
    assert stage.orders.execute("SELECT remark FROM sales_order WHERE id = 1").fetchone() == ("early",)


def test_two_rows_that_swap_a_unique_value_are_applied(stage: Any) -> None:
    stage.backfill()
    with stage.shop.transaction():
        stage.shop.execute("ALTER TABLE orders_order ALTER COLUMN public_id DROP NOT NULL")
        first, second = (
            stage.shop.execute("SELECT public_id FROM orders_order WHERE id = %s", [i]).fetchone()[0] for i in (1, 2)
        )
        stage.shop.execute("UPDATE orders_order SET public_id = gen_random_uuid() WHERE id = 1")
        stage.shop.execute("UPDATE orders_order SET public_id = %s WHERE id = 2", [first])
        stage.shop.execute("UPDATE orders_order SET public_id = %s WHERE id = 1", [second])
    stage.settle()
    assert stage.differences() == []


def test_writers_relay_consumer_and_backfill_at_once_end_equal(stage: Any) -> None:
    from tests.stage import write_at_random

    stop = threading.Event()
    writers = [threading.Thread(target=write_at_random, args=(stage.pair, seed, stop)) for seed in (1, 2, 3)]
    with stage.running():
        for writer in writers:
            writer.start()
        for _ in range(3):
            with stage.ends() as ends:
                ends.receiver.execute("DELETE FROM strangle_copied_range")
            stage.backfill()
        stop.set()
        for writer in writers:
            writer.join()
    stage.settle()
    assert stage.differences() == []


def test_a_column_renamed_under_capture_stops_the_stream_with_the_remedy_and_loses_nothing(stage: Any) -> None:
    stage.backfill()
    stage.shop.execute("ALTER TABLE orders_order RENAME COLUMN note TO remark")
    stage.shop.execute("UPDATE orders_order SET remark = 'while broken' WHERE id = 1")
    with pytest.raises(CaptureDrift, match="strangle_doctor orders --mend"):
        stage.tick()
    stage.shop.execute("ALTER TABLE orders_order RENAME COLUMN remark TO note")
    stage.settle()
    assert stage.differences() == []


def test_columns_added_and_dropped_beside_the_mapping_disturb_nothing(stage: Any) -> None:
    stage.backfill()
    stage.shop.execute("ALTER TABLE orders_order ADD COLUMN extra text DEFAULT 'x'")
    stage.shop.execute("UPDATE orders_order SET note = 'wider' WHERE id < 5")
    stage.shop.execute("ALTER TABLE orders_order DROP COLUMN extra")
    stage.shop.execute("UPDATE orders_order SET note = 'narrower' WHERE id < 3")
    stage.settle()
    assert stage.differences() == []


def test_a_chunk_done_again_keeps_columns_that_are_not_mapped_and_fires_no_reference(stage: Any) -> None:
    stage.backfill()
    stage.orders.execute("ALTER TABLE sales_order ADD COLUMN own_note text")
    stage.orders.execute("CREATE TABLE own_child (id int, o bigint REFERENCES sales_order ON DELETE CASCADE)")
    with stage.orders.transaction():
        stage.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        stage.orders.execute("UPDATE sales_order SET own_note = 'ours'")
        stage.orders.execute("INSERT INTO own_child SELECT id, id FROM sales_order")
        stage.orders.execute("UPDATE sales_order SET remark = 'wrong' WHERE id < 20")
        stage.orders.execute("DELETE FROM strangle_copied_range")
    stage.backfill()
    assert stage.differences() == []
    assert stage.orders.execute("SELECT count(*) FROM sales_order WHERE own_note = 'ours'").fetchone() == (300,)
    assert stage.orders.execute("SELECT count(*) FROM own_child").fetchone() == (300,)


@pytest.mark.parametrize(
    ("clause", "problem"),
    [("ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED", "acts by itself"), ("", "is checked at once")],
)
def test_a_reference_that_acts_by_itself_is_refused_with_the_remedy(stage: Any, clause: str, problem: str) -> None:
    stage.shop.execute(f"CREATE TABLE loyalty (id int, order_id bigint REFERENCES orders_order {clause})")
    with (
        connect("default", "test") as source,
        connect("orders", "test") as target,
        pytest.raises(PlaybookError, match=problem) as caught,
    ):
        compile_playbook(get("orders"), source, target)
    assert "NO ACTION DEFERRABLE INITIALLY DEFERRED" in str(caught.value)
