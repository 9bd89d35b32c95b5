"""Copy data passed on by libpq: whatever fails, both connections are in a known state."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from migration_tools.stores.postgres import Connection, connect, is_lost, sql, transaction
from migration_tools.stores.postgres.copying import Piped, pipe
from tests.races.scene import Background, until

TYPES = ["bigint", "text"]


@pytest.fixture
def source(pair: Any) -> Iterator[Connection]:
    with connect("default", "source") as conn:
        yield conn


@pytest.fixture
def target(pair: Any) -> Iterator[Connection]:
    with connect("orders", "target") as conn:
        conn.execute("CREATE TABLE copied (id bigint PRIMARY KEY, word text CHECK (word <> 'bad'))")
        yield conn


def rows(query: Any, source: Connection, target: Connection, types: list[str] = TYPES) -> Piped:
    with transaction(target):
        return pipe(source, sql.SQL(query).format(), target, "copied", ["id", "word"], types)


def usable(source: Connection, target: Connection) -> bool:
    """Both are idle, the target is empty, and copy again."""
    assert source.info.transaction_status is TransactionStatus.IDLE
    assert target.info.transaction_status is TransactionStatus.IDLE
    assert target.execute("SELECT count(*) FROM copied").fetchone() == (0,)
    return rows("SELECT 1::bigint, 'good'", source, target).rows == 1


@pytest.mark.parametrize("types", [TYPES, ["bigint", "unknown-to-binary"]], ids=["binary", "text"])
def test_rows_arrive_as_they_were(source: Connection, target: Connection, types: list[str]) -> None:
    query = (
        "SELECT n::bigint, CASE n WHEN 1 THEN NULL WHEN 2 THEN '' WHEN 3 THEN E'\\t\\n\\\\.' ELSE repeat('ü', n) END"
    )
    piped = rows(f"{query} FROM generate_series(1, 3000) n", source, target, types)
    assert piped.rows == 3000
    assert piped.bytes > 4_500 * 1_000
    assert target.execute("SELECT word FROM copied WHERE id <= 4 ORDER BY id").fetchall() == [
        (None,),
        ("",),
        ("\t\n\\.",),
        ("üüüü",),
    ]
    assert target.execute("SELECT sum(length(word)) FROM copied WHERE id > 3").fetchone() == (4501500 - 6,)


@pytest.mark.parametrize("types", [TYPES, ["bigint", "unknown-to-binary"]], ids=["binary", "text"])
def test_no_rows_are_no_rows(source: Connection, target: Connection, types: list[str]) -> None:
    assert rows("SELECT 1::bigint, 'x' WHERE false", source, target, types).rows == 0
    assert usable(source, target)


def test_a_query_that_fails_in_the_middle_leaves_both_usable(source: Connection, target: Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        rows("SELECT n::bigint, (1 / (90000 - n))::text FROM generate_series(1, 100000) n", source, target)
    assert usable(source, target)


def test_a_target_that_refuses_a_row_leaves_both_usable(source: Connection, target: Connection) -> None:
    query = "SELECT n::bigint, CASE n WHEN 100 THEN 'bad' ELSE repeat('x', 500) END FROM generate_series(1, 200000) n"
    with pytest.raises(psycopg.errors.CheckViolation):
        rows(query, source, target)
    assert usable(source, target)


@pytest.mark.parametrize("victim", ["source", "target"])
def test_a_lost_connection_is_said_and_the_other_is_usable(
    pair: Any, source: Connection, target: Connection, victim: str
) -> None:
    lost, other = (source, target) if victim == "source" else (target, source)
    slow = "SELECT n::bigint, repeat('x', 2000) || pg_sleep(0.001)::text FROM generate_series(1, 100000) n"
    copying = Background(lambda: rows(slow, source, target))
    with pair.connect("shop") as conn:
        until(lambda: copying_now(conn, source, target) == 2, "both sides copy")
        conn.execute("SELECT pg_terminate_backend(%s, 5000)", [lost.info.backend_pid])
    with pytest.raises(psycopg.OperationalError) as caught:
        copying.outcome()
    assert is_lost(caught.value)
    assert lost.closed
    assert other.info.transaction_status is TransactionStatus.IDLE
    with connect("default" if victim == "source" else "orders", "again") as fresh:
        assert usable(*((fresh, target) if victim == "source" else (source, fresh)))


def copying_now(conn: psycopg.Connection[Any], *ours: Connection) -> int:
    """How many of these copy; other tests on the server may copy too."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (%s) AND state = 'active' AND query LIKE 'COPY %%'"
    found = conn.execute(query, [[each.info.backend_pid for each in ours]])
    return int((found.fetchone() or (0,))[0])


def test_an_interrupt_is_heeded_at_once_and_leaves_both_usable(
    pair: Any, source: Connection, target: Connection
) -> None:
    """SIGINT while the source computes: psycopg cancels it, the target's COPY is ended."""

    def interrupt() -> None:
        with pair.connect("shop") as conn:
            until(lambda: copying_now(conn, source, target) == 2, "both sides copy")
        signal.pthread_kill(main, signal.SIGINT)

    stuck = "SELECT n::bigint, CASE n WHEN 5000 THEN pg_sleep(60)::text ELSE repeat('x', 99) END"
    stuck += " FROM generate_series(1, 9000) n"
    main = threading.main_thread().ident
    assert main is not None
    interrupting = Background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        rows(stuck, source, target)
    interrupting.outcome()
    assert usable(source, target)
