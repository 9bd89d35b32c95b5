"""Transactions that end late, in parts, in two phases or not at all, and sequences that do not count like them."""

from typing import Any

import psycopg
import pytest

from migration_tools.capture.installation import install
from migration_tools.stores.postgres import connect
from tests.conftest import SMALL_SHOP, Pair
from tests.races.scene import Background, until
from tests.stage import Stage


def test_a_transaction_prepared_before_the_start_of_capture_is_waited_for(pair: Pair) -> None:
    """CREATE TRIGGER waits for it as for any writer, whose connection may be long gone; it is not lost."""
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
        conn.execute(
            "BEGIN; UPDATE orders_order SET note = 'prepared before' WHERE id = 1; PREPARE TRANSACTION 'early'"
        )
    starting = Background(lambda: Stage(pair))
    with pair.connect("shop") as conn:
        tried = """SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'strangle:%' AND query LIKE 'LOCK%'
                   AND datname = current_database()"""
        until(lambda: conn.execute(tried).fetchone() != (0,), "capture asks for its lock")
        assert starting.running()
        conn.execute("COMMIT PREPARED 'early'")
    stage = starting.outcome()
    stage.backfill()
    stage.settle()
    assert stage.differences() == []
    assert stage.orders.execute("SELECT remark FROM sales_order WHERE id = 1").fetchone() == ("prepared before",)
    stage.close()


def test_a_transaction_prepared_under_capture_arrives_when_it_is_committed(stage: Any) -> None:
    stage.backfill()
    stage.shop.execute("BEGIN; UPDATE orders_order SET note = 'prepared' WHERE id = 1; PREPARE TRANSACTION 'late'")
    stage.shop.execute("UPDATE orders_order SET note = 'after' WHERE id = 2")
    stage.settle()
    assert stage.orders.execute("SELECT count(*) FROM sales_order WHERE remark = 'after'").fetchone() == (1,)
    stage.shop.execute("COMMIT PREPARED 'late'")
    stage.settle()
    assert stage.differences() == []


def test_savepoints_rolled_back_released_and_nested(stage: Any) -> None:
    stage.backfill()
    stage.shop.execute(
        """BEGIN; UPDATE orders_order SET note = 'kept' WHERE id = 1;
           SAVEPOINT a; UPDATE orders_order SET note = 'never' WHERE id IN (1, 2); DELETE FROM orders_orderline;
           SAVEPOINT b; UPDATE orders_order SET note = 'nor this' WHERE id = 3; RELEASE b; ROLLBACK TO a;
           UPDATE orders_order SET note = 'kept too' WHERE id = 4; RELEASE a; COMMIT"""
    )
    stage.settle()
    assert stage.differences() == []
    kept = stage.orders.execute("SELECT id FROM sales_order WHERE remark LIKE 'kept%' ORDER BY 1").fetchall()
    assert kept == [(1,), (4,)]


def test_a_block_that_catches_its_own_error(stage: Any) -> None:
    stage.backfill()
    stage.shop.execute(
        """DO $$ BEGIN
             BEGIN UPDATE orders_order SET note = 'never' WHERE id = 1; PERFORM 1 / 0;
             EXCEPTION WHEN division_by_zero THEN UPDATE orders_order SET note = 'caught' WHERE id = 1; END;
           END $$"""
    )
    stage.settle()
    assert stage.differences() == []


def test_a_sequence_with_a_cache_of_many_hands_out_keys_in_disorder(stage: Any) -> None:
    """Keys of a later session are lower than those of an earlier one: nothing may read by rising keys."""
    insert = """INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price) VALUES (%s, 1, 1, 1)
                RETURNING id"""
    sequence = stage.shop.execute("SELECT pg_get_serial_sequence('orders_orderline', 'id')").fetchone()[0]
    stage.shop.execute(f"ALTER SEQUENCE {sequence} CACHE 50")
    stage.backfill()
    with stage.pair.connect("shop") as one, stage.pair.connect("shop") as other:
        keys = [
            conn.execute(insert, [order]).fetchone()[0] for order, conn in enumerate([one, other, one, other, one], 1)
        ]
        stage.settle()
    assert keys != sorted(keys)
    assert stage.differences() == []


def test_a_tick_that_is_drawn_between_two_commits_of_cached_outbox_numbers_loses_neither(stage: Any) -> None:
    """The outbox's own numbers too may come from a cache, if somebody changes the sequence; ticks do not mind."""
    sequence = stage.shop.execute("SELECT pg_get_serial_sequence('strangle_outbox', 'seq')").fetchone()
    stage.shop.execute(f"ALTER SEQUENCE {sequence[0]} CACHE 20")
    stage.backfill()
    with stage.pair.connect("shop") as one, stage.pair.connect("shop") as other:
        one.execute("UPDATE orders_order SET note = 'a' WHERE id = 1")
        stage.settle()
        other.execute("UPDATE orders_order SET note = 'b' WHERE id = 2")
        one.execute("UPDATE orders_order SET note = 'c' WHERE id = 1")
        stage.settle()
    assert stage.differences() == []


def test_a_read_only_and_a_serializable_transaction(stage: Any) -> None:
    stage.backfill()
    with stage.pair.connect("shop") as conn:
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        with conn.transaction():
            conn.execute("UPDATE orders_order SET note = 'serial' WHERE id = 1")
        conn.read_only = True
        with conn.transaction():
            conn.execute("SELECT count(*) FROM orders_order")
    stage.settle()
    assert stage.differences() == []


def test_a_truncation_with_cascade_from_another_table_is_refused(stage: Any) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="refused while context"):
        stage.shop.execute("TRUNCATE catalog_product CASCADE")
    stage.backfill()
    assert stage.differences() == []


def test_capture_installed_twice_captures_once(stage: Any) -> None:
    with connect("default", "test") as source:
        install(source, stage.compiled.source, wait=lambda _: None)
    before = stage.shop.execute("SELECT count(*) FROM strangle_outbox").fetchone()[0]
    stage.shop.execute("UPDATE orders_order SET note = 'once' WHERE id = 1")
    assert stage.shop.execute("SELECT count(*) FROM strangle_outbox").fetchone()[0] == before + 1
