"""The census of writers: whoever owns the orders, one side alone gets a row of theirs made, changed or deleted."""

from typing import Any

import psycopg

from migration_tools.capture.models import Side
from migration_tools.capture.ownership import read_owner, set_owner
from migration_tools.stores.postgres import connect

#: Database → the tables in it that hold the context's rows.
TABLES = {"shop": ("orders_order", "orders_orderline"), "orders": ("sales_order", "sales_orderitem")}
WRITES = {
    "create": "INSERT INTO {0} SELECT * FROM {0} LIMIT 1",
    "update": "UPDATE {0} SET id = id",
    "delete": "DELETE FROM {0}",
}
FENCED, NOT_GRANTED = "40S01", "42501"


def writers(stage: Any) -> set[tuple[str, str, str]]:
    """(side, table, verb) of every write that neither the fence nor a grant refuses, of each side's every role."""
    return {
        (side, table, verb)
        for side in ("shop", "orders")
        for role in ("app", "owner")
        for database, tables in TABLES.items()
        for table in tables
        for verb, statement in WRITES.items()
        if may(stage, database, f"{side}_{role}", statement.format(table))
    }


def may(stage: Any, database: str, role: str, statement: str) -> bool:
    try:
        with stage.pair.connect(database, role) as conn, conn.transaction(force_rollback=True):
            conn.execute(statement)
    except psycopg.Error as error:
        # Whatever else PostgreSQL says, of a key that there is already or a row in use, it says to who may write.
        return error.sqlstate not in (FENCED, NOT_GRANTED) and "permission denied for database" not in str(error)
    return True


def test_of_every_table_of_a_context_one_side_writes_whoever_owns_it(stage: Any) -> None:
    stage.backfill()
    monolith = {("shop", table, verb) for table in TABLES["shop"] for verb in WRITES}
    service = {("orders", table, verb) for table in TABLES["orders"] for verb in WRITES}
    assert writers(stage) == monolith
    for owner, expected in ((Side.TARGET, service), (Side.SOURCE, monolith)):
        for alias in ("default", "orders"):
            with connect(alias, "test") as conn:
                before = read_owner(conn, "orders")
                assert before is not None
                set_owner(conn, "orders", owner, before.epoch + 1)
        assert writers(stage) == expected
        assert {side for side, *_ in expected} == {"orders" if owner is Side.TARGET else "shop"}
    assert stage.differences() == []
