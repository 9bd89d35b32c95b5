"""The decommission moves several tables at once, in an order that customers' transactions need not share."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from migration_tools.state.journal import phase_of
from migration_tools.stores.postgres import connect
from tests.conftest import Pair
from tests.integration.test_phases import ROAD, Road, road
from tests.operators import held

__all__ = ["road"]

SECONDS = 30.0


def await_that(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.002)


def await_blocked(pair: Pair, pid: int) -> None:
    """Wait until a session waits for a lock that the given session holds."""
    asked = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND %s = ANY (pg_blocking_pids(pid))"
    with pair.connect("shop") as conn:
        await_that(lambda: conn.execute(asked, [pid]).fetchone() is not None, "somebody waits for the session")


@contextmanager
def soon_ended_reader(pair: Pair) -> Iterator[psycopg.Connection[Any]]:
    """A customer's session that notices a deadlock long before anybody else, and so is the one PostgreSQL ends."""
    with pair.connect("shop") as conn:
        conn.execute(
            sql.SQL("ALTER ROLE shop_app IN DATABASE {} SET deadlock_timeout = '5ms'").format(sql.Identifier(pair.shop))
        )
    with pair.connect("shop", "shop_app") as reader:
        yield reader


@pytest.mark.thorough
def test_a_reader_takes_the_child_then_the_parent_while_both_are_put_away(road: Road, tmp_path: Path) -> None:
    road.go(*ROAD[:5])
    with (
        held(road.pair, "strangle_decommission", "archive.dumped", tmp_path / "go") as operator,
        soon_ended_reader(road.pair) as reader,
    ):
        with reader.transaction():
            reader.execute("SELECT count(*) FROM orders_orderline")
            operator.go()
            await_blocked(road.pair, reader.info.backend_pid)
            rows = reader.execute("SELECT count(*) FROM orders_order").fetchone()
            assert rows is not None
            assert rows[0] >= 300
        assert operator.end()[0] == 0
    assert phase_of("orders") == "decommission"
    road.run("strangle_rollback")
    assert road.settled() == []


def test_naively_waiting_for_one_table_while_another_is_held_ends_the_customer(road: Road) -> None:
    with (
        soon_ended_reader(road.pair) as reader,
        connect("default", "naive") as naive,
        ThreadPoolExecutor(1) as operator,
    ):
        reader.execute("BEGIN; SELECT count(*) FROM orders_orderline")
        # Else it might be this one's only look, a second after it began to wait, that finds the deadlock.
        naive.execute("SET deadlock_timeout = '1min'")
        naive.execute("BEGIN; LOCK TABLE orders_order IN ACCESS EXCLUSIVE MODE")
        waiting = operator.submit(naive.execute, "LOCK TABLE orders_orderline IN ACCESS EXCLUSIVE MODE")
        await_blocked(road.pair, reader.info.backend_pid)
        with pytest.raises(psycopg.errors.DeadlockDetected):
            reader.execute("SELECT count(*) FROM orders_order")
        reader.rollback()
        waiting.result(SECONDS)
        naive.execute("ROLLBACK")
