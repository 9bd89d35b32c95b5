"""Statements that only the database has seen: each blind spot of the tracer, held against pg_stat_statements."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.database import DatabaseFacts, read_facts
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.trace import Trace
from migration_tools.analysis.unseen import find_unseen
from migration_tools.testing.postgres import EmbeddedPostgres

DEBIAN = Path("/usr/lib/postgresql/15/lib/pg_stat_statements.so")
STATEMENT = "UPDATE payments_payment SET status = {} FROM orders_order o WHERE o.id = order_id AND o.status = {}"
SEEN = {"context": None, "function": "f", "count": 1, "most": 1, "place": {"file": "f.py", "line": 1}}


def unseen(*statements: tuple[str, int, str], seen: tuple[str, ...] = (), **facts: Any) -> list[Finding]:
    contexts = load_contexts()
    trace = Trace(contexts)
    trace.add({"sent": [{**SEEN, "shape": shape} for shape in seen], "written": []})
    return list(find_unseen(DatabaseFacts(statements=statements, **facts), trace, contexts))


def test_a_statement_across_contexts_that_only_the_database_saw_is_found_by_its_text() -> None:
    sent = ((STATEMENT.format("$1", "$2"), 7, "nightly"), ("SELECT 1", 9, "x"))
    (found,) = unseen(*sent)
    assert (found.source, found.target, found.weight) == ("payments", "orders", 7)
    assert "role nightly sent 7 times" in found.message
    assert unseen(*sent, seen=(STATEMENT.format("$1", "$1"),)) == []


def test_statements_on_one_context_are_told_by_role_reads_and_writes_apart() -> None:
    note, status = "UPDATE orders_order SET note = $1", "UPDATE orders_order SET status = $1 WHERE id = $2"
    count, lines = "SELECT count(*) FROM orders_order", "DELETE FROM orders_orderline"
    sent = ((note, 3, "nightly"), (status, 40, "nightly"), (count, 5, "nightly"), (lines, 1, "shop"))
    found = unseen(*sent, seen=("UPDATE orders_order SET note = $1",))
    assert [(each.source, each.target, each.weight, each.detail["key"]) for each in found] == [
        ("orders", "orders", 5, "nightly:read"),
        ("orders", "orders", 40, "nightly:write"),
        ("orders", "orders", 1, "shop:write"),
    ]
    assert status.replace("$2", "$1") in found[1].message


@pytest.mark.parametrize(
    "call", ["CALL close_day($1)", "SELECT public.close_day($1)", 'SELECT * FROM "close_day" ($1)']
)
def test_a_routine_touches_what_its_body_names(call: str, caplog: pytest.LogCaptureFixture) -> None:
    body = "BEGIN -- not payments_payment\n  DELETE FROM ONLY public.orders_order o USING catalog_product p; END"
    with caplog.at_level(logging.WARNING):
        (found,) = unseen((call, 2, "nightly"), routines={"close_day": body})
    assert (found.source, found.target, found.tables) == ("orders", "catalog", ("catalog_product", "orders_order"))
    assert unseen((call, 2, "nightly"), routines={"another": body}) == []
    assert not caplog.records


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(version=15, options={"shared_preload_libraries": "pg_stat_statements"}) as started:
        yield started


@pytest.mark.skipif(
    not DEBIAN.exists(), reason="pg_stat_statements comes with Debian's PostgreSQL 15, not with the wheel"
)
def test_a_statement_past_django_is_found_by_pg_stat_statements(server: EmbeddedPostgres) -> None:
    """A driver's own cursor, COPY and stored routines are blind spots of the tracer, which the database is not."""
    with psycopg.connect(server.dsn(), autocommit=True) as conn, conn.cursor() as c:
        conn.execute("CREATE EXTENSION pg_stat_statements")
        conn.execute("CREATE TABLE orders_order (id int, status text)")
        conn.execute("CREATE TABLE payments_payment (order_id int, status text)")
        conn.execute("CREATE TABLE catalog_category (name text)")
        conn.execute("CREATE PROCEDURE close_day(int) LANGUAGE sql AS 'DELETE FROM orders_order WHERE id = $1'")
        conn.execute(
            "CREATE FUNCTION paid(int) RETURNS bigint LANGUAGE sql BEGIN ATOMIC "
            "SELECT count(*) FROM payments_payment WHERE order_id = $1; END"
        )
        conn.execute("SELECT pg_stat_statements_reset()")
        for _ in range(3):
            c.execute(STATEMENT.format("'x'", "'y'"))
        with c.copy("COPY catalog_category (name) FROM STDIN") as rows:
            rows.write_row(["by a cursor of the driver"])
        c.execute("CALL close_day(1)")
        c.execute("SELECT paid(1)")
        contexts = load_contexts()
        found = list(find_unseen(read_facts(conn), Trace(contexts), contexts))
    assert {(each.source, each.target, each.weight, each.detail["key"]) for each in found} == {
        ("payments", "orders", 3, found[0].detail["shape"][:80]),
        ("catalog", "catalog", 1, "postgres:write"),
        ("orders", "orders", 1, "postgres:write"),
        ("payments", "payments", 1, "postgres:read"),
    }
