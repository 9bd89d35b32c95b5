"""What the doctor says of ties between databases: prepared transactions are found, side doors are warned of."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.integration.test_bad_input import resting, road

__all__ = ["resting", "road"]


def doctor(**options: Any) -> str:
    out = io.StringIO()
    call_command("strangle_doctor", "orders", stdout=out, **options)
    return out.getvalue()


def test_a_prepared_transaction_that_nobody_ended_is_found_by_its_name(resting: Any) -> None:
    with resting.pair.connect("orders") as conn:
        conn.execute("CREATE TABLE promised (id int)")
        conn.execute("BEGIN")
        conn.execute("INSERT INTO promised VALUES (1)")
        conn.execute("PREPARE TRANSACTION 'half of an order'")
        try:
            with pytest.raises(
                CommandError, match=r"on the target the prepared transaction 'half of an order' of role"
            ):
                doctor()
        finally:
            conn.execute("ROLLBACK PREPARED 'half of an order'")
    assert "nothing is wrong" in doctor()


def test_ways_into_another_database_are_warned_of_and_refuse_nothing(resting: Any) -> None:
    with resting.pair.connect("shop") as shop, resting.pair.connect("orders") as orders:
        shop.execute("CREATE FOREIGN DATA WRAPPER postgres_fdw")
        shop.execute("CREATE SERVER orders_db FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'orders')")
        shop.execute("CREATE FOREIGN TABLE their_orders (id bigint) SERVER orders_db")
        shop.execute("CREATE FUNCTION dblink(text) RETURNS text LANGUAGE sql AS 'SELECT $1'")
        orders.execute(
            "CREATE SUBSCRIPTION from_shop CONNECTION 'dbname=shop' PUBLICATION everything "
            "WITH (connect = false, slot_name = NONE, enabled = false)"
        )
        try:
            warnings = json.loads(doctor(format="json"))["evidence"]["warnings"]
        finally:
            orders.execute("DROP SUBSCRIPTION from_shop")
    assert len(warnings) == 3
    assert "dblink is installed in schema public" in warnings[0]
    assert "on the source foreign server orders_db (postgres_fdw, 1 foreign tables)" in warnings[1]
    assert "on the target subscription from_shop" in warnings[2]
    assert "warning: on the source foreign server orders_db" in doctor()


def test_a_side_that_was_loaded_from_a_dump_is_found_and_begun_anew(road: Any) -> None:
    """The ticks of a cluster that has counted further are as good as a snapshot in the future."""
    road.go("strangle_dual_write")
    with road.pair.connect("shop") as shop:
        shop.execute(
            "INSERT INTO strangle_tick (stream, number, snapshot, base, records) "
            "VALUES ('orders', 1000, '4000000000:4000000000:', 0, 0)"
        )
        with pytest.raises(CommandError, match=r"on the source the ticks of stream 'orders' come from another cluster"):
            doctor()
        identity = "SELECT identity FROM strangle_stream_identity WHERE stream = 'orders'"
        before = shop.execute(identity).fetchone()
        assert "nothing is wrong" in doctor(mend=True)
        assert shop.execute(identity).fetchone() != before
