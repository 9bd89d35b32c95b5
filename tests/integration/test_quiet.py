"""The proof that nobody uses the old tables: whoever does is named, and a watch may last for days."""

import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.utils import timezone
from psycopg import sql

from migration_tools.phases import quiet
from migration_tools.phases.quiet import STEP
from migration_tools.phases.witnesses import sessions_on, statements_on, told_uses, uses_of
from migration_tools.state.journal import phase_of, read_context
from migration_tools.state.models import JournalEntry
from migration_tools.testing.postgres import EmbeddedPostgres, provision
from tests.integration.test_phases import ROAD, Road, road
from tests.races.scene import beside, until

__all__ = ["road"]


@pytest.mark.thorough
@pytest.mark.parametrize("role", ["shop_app", "shop_owner"])
def test_a_reader_is_named_by_role_and_application_and_the_move_is_taken_back(road: Road, role: str) -> None:
    """The tables' owner too, as whom many an application runs."""
    road.go(*ROAD[:5])
    stop = threading.Event()

    def read() -> None:
        with road.pair.connect("shop", role, application_name="nightly report") as conn:
            while not stop.is_set():
                with conn.transaction():
                    conn.execute("SELECT count(*) FROM orders_orderline")
                    stop.wait(0.6)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        error = road.refused("strangle_decommission")
    finally:
        stop.set()
        reader.join()
    assert error.returncode == 4
    assert "'orders_orderline' was read or written" in str(error)
    assert f"by role {role!r} (nightly report)" in str(error)
    assert "'orders_order' was" not in str(error)
    assert phase_of("orders") == "cutover"
    assert read_context("orders").move is None
    road.go("strangle_decommission")
    assert phase_of("orders") == "decommission"


@pytest.mark.thorough
def test_a_watch_of_days_is_kept_begins_anew_without_statistics_and_names_who_comes(road: Road) -> None:
    road.go(*ROAD[:5])
    asked = ("strangle_decommission", "--quiet-days", "7")

    def days_pass() -> None:
        entry = JournalEntry.objects.filter(step=STEP).latest("id")
        entry.evidence["at"] = (timezone.now() - dt.timedelta(days=8)).isoformat()
        entry.save()

    error = road.refused(*asked)
    assert error.returncode == 4
    assert "7.00 days are left" in str(error)
    assert phase_of("orders") == "cutover"
    assert read_context("orders").move == "to decommission", "what was done for the watch is kept"
    assert "7.00 days are left" in str(road.refused(*asked))

    days_pass()
    road.stage.shop.execute("SELECT pg_stat_reset()")
    assert "begins anew" in str(road.refused(*asked))

    days_pass()
    with road.pair.connect("shop", "shop_app") as late, pytest.raises(psycopg.errors.OperationalError):
        late.execute("UPDATE orders_order SET note = 'a job nobody knew of'")
    error = road.refused(*asked)
    assert "the fence refused 1 writes" in str(error)
    assert read_context("orders").move is None, "taken back, so that the monolith's copy follows again"

    road.refused(*asked)
    days_pass()
    with road.pair.connect("shop", "shop_app") as late:
        late.execute("SELECT count(*) FROM orders_order")
    assert "'orders_order' was read or written 1 times" in str(road.refused(*asked))

    road.refused(*asked)
    days_pass()
    evidence = road.run(*asked)["evidence"]
    assert evidence["quiet_seconds"] == 7 * 86_400
    assert phase_of("orders") == "decommission"
    road.go("strangle_rollback")
    assert road.settled() == []


@pytest.mark.thorough
def test_what_an_idle_session_counts_late_is_left_out_and_what_is_counted_again_is_not(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.go(*ROAD[:5])
    monkeypatch.setattr(quiet, "IDLE_STATISTICS_SECONDS", 0.1)
    look, sit, watches, late_in = quiet._look, quiet._sit, [], {1, 2}
    with road.pair.connect("shop", "shop_app") as idle:

        def read_before(*args: Any) -> Any:
            for _ in range(2):  # the second one so soon that it is counted later
                idle.execute("SELECT count(*) FROM orders_order")
            return look(*args)

        def counted_meanwhile(*args: Any, **kwargs: Any) -> Any:
            watches.append("watch")
            if len(watches) in late_in:
                idle.execute("SELECT pg_stat_force_next_flush()")
            return sit(*args, **kwargs)

        monkeypatch.setattr(quiet, "_look", read_before)
        monkeypatch.setattr(quiet, "_sit", counted_meanwhile)
        error = road.refused("strangle_decommission")
        assert (len(watches), error.returncode) == (2, 4), "somebody comes again and again"
        assert "by whom was not seen" in str(error)

        late_in = {3}
        monkeypatch.setattr(quiet, "_look", lambda *args: (read_before if len(watches) == 2 else look)(*args))
        road.go("strangle_decommission")
    assert len(watches) == 4
    assert phase_of("orders") == "decommission"


@pytest.mark.thorough
def test_who_is_refused_all_the_time_is_a_writer_left(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    road.go(*ROAD[:5])
    stop, tried = threading.Event(), threading.Event()

    def write() -> None:
        with road.pair.connect("shop", "shop_app", application_name="nightly export") as conn:
            while not stop.wait(0.05):
                with pytest.raises(psycopg.Error, match="is not owned here"):
                    conn.execute("UPDATE orders_order SET note = 'late' WHERE id = 1")
                tried.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert tried.wait(20)
        monkeypatch.setattr("migration_tools.phases.quiet.REFUSALS_COUNT_FROM", dt.timedelta(0))
        error = road.refused("strangle_decommission")
    finally:
        stop.set()
        writer.join()
    assert error.returncode == 4
    assert "somebody still tries" in str(error)
    assert "shop_app" in str(error)
    assert phase_of("orders") == "cutover"
    road.go("strangle_decommission")


@pytest.fixture
def replica(road: Road, settings: Any) -> Iterator[str]:
    """A database that holds the monolith's tables elsewhere, as a streaming replica does; `READ_REPLICAS` names it."""
    name = f"replica_{road.pair.shop}"
    with psycopg.connect(road.pair.cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(road.pair.cluster.dsn(name), autocommit=True) as conn:
        for table in ("orders_order", "orders_orderline", "strangle_ownership"):
            conn.execute(sql.SQL("CREATE TABLE {} (id int)").format(sql.Identifier(table)))
        conn.execute("GRANT SELECT ON orders_orderline TO shop_app")
    connections.settings["replica"] = {**connections.settings["default"], **connections["default"].settings_dict}
    connections.settings["replica"]["NAME"] = name
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "READ_REPLICAS": {"replica": 1.0}}
    yield name
    connections["replica"].close()
    del connections.settings["replica"], connections["replica"]
    with psycopg.connect(road.pair.cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.thorough
def test_who_reads_a_replica_is_found_there_and_one_that_is_away_is_no_proof(road: Road, replica: str) -> None:
    road.go(*ROAD[:5])

    def read(stop: threading.Event) -> None:
        dsn = road.pair.cluster.dsn(replica, "shop_app")
        with psycopg.connect(dsn, autocommit=True, application_name="weekly report") as conn:
            while not stop.is_set():
                with conn.transaction():
                    conn.execute("SELECT count(*) FROM orders_orderline")
                    stop.wait(0.6)

    with beside(read):
        error = road.refused("strangle_decommission")
    assert error.returncode == 4
    assert "'orders_orderline' was read or written" in str(error)
    assert "times on the replica 'replica' since" in str(error)
    assert "by role 'shop_app' (weekly report)" in str(error)
    assert (phase_of("orders"), read_context("orders").move) == ("cutover", None)
    right = connections.settings["replica"]["PORT"]
    connections.settings["replica"]["PORT"] = connections["replica"].settings_dict["PORT"] = "1"
    assert "database 'replica' does not answer" in str(road.refused("strangle_decommission"))
    connections.settings["replica"]["PORT"] = connections["replica"].settings_dict["PORT"] = right
    road.go("strangle_decommission")


@pytest.mark.thorough
def test_autovacuum_is_nobody_s_use() -> None:
    slowly = "autovacuum_vacuum_threshold = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
    at_work = """SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                 WHERE relation = 'old'::regclass AND backend_type = 'autovacuum worker'"""
    with EmbeddedPostgres(options={"autovacuum": "on", "autovacuum_naptime": "1s"}) as server:
        dsn = server.dsn()
        with psycopg.connect(dsn, autocommit=True) as conn, psycopg.connect(dsn, application_name="somebody") as other:
            conn.execute("CREATE TABLE strangle_ownership ()")
            conn.execute(
                f"CREATE TABLE old WITH ({slowly}) AS SELECT n, repeat('x', 500) FROM generate_series(1, 9000) n"
            )
            conn.execute("UPDATE old SET n = n")
            until(lambda: conn.execute(at_work).fetchone() == (1,), "autovacuum is at the old table")
            other.execute("SELECT count(*) FROM old")
            assert [str(each) for each in sessions_on(conn, ["old"])] == ["role 'postgres' (somebody)"]
            assert conn.execute(at_work).fetchone() == (1,), "it has been there all the time"


DEBIAN = Path("/usr/lib/postgresql/15/lib/pg_stat_statements.so")


def look(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    """What a watch of the table `old` notes."""
    conn.execute("SELECT pg_stat_force_next_flush()")
    uses = {table: sum(counts) for table, counts in uses_of(conn, ["old"]).items()}
    return {"at": "2026-01-01T00:00:00", "uses": uses, "statements": statements_on(conn, ["old"])}


@pytest.mark.skipif(
    not DEBIAN.exists(), reason="pg_stat_statements comes with Debian's PostgreSQL 15, not with the wheel"
)
def test_who_was_too_quick_to_be_caught_is_named_by_the_statements_of_its_role() -> None:
    """Of the table's own partitions too; a table whose name only begins alike, and what was asked before, is not it."""
    preloaded = {"shared_preload_libraries": "pg_stat_statements"}
    with (
        EmbeddedPostgres(version=15, options=preloaded) as server,
        psycopg.connect(server.dsn(), autocommit=True) as conn,
    ):
        provision(server, sides=("shop",))
        conn.execute("CREATE TABLE old (id int) PARTITION BY RANGE (id)")
        conn.execute("CREATE TABLE old_2025 PARTITION OF old FOR VALUES FROM (1) TO (9)")
        conn.execute("CREATE TABLE older (id int)")
        conn.execute("GRANT SELECT ON old, older TO shop_app")
        assert statements_on(conn, ["old"]) == [], "without the extension"
        conn.execute("CREATE EXTENSION pg_stat_statements")
        ask(server, "SELECT id FROM old WHERE id = 1", "SELECT id FROM older")
        before = look(conn)
        ask(server, "SELECT id FROM older")
        assert told_uses(["old"], before, look(conn), set()) == []
        ask(server, *["SELECT id FROM old WHERE id = 2"] * 3)
        (told,) = told_uses(["old"], before, look(conn), set())
        assert "table 'old' was read or written 3 times" in told
        assert "by role 'shop_app' by 'SELECT id FROM old WHERE id = $1', 3 times; move it" in told


def ask(server: EmbeddedPostgres, *statements: str) -> None:
    """In a session that ends, since the counters of an idle one come late."""
    with psycopg.connect(server.dsn(user="shop_app"), autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement)
        conn.execute("SELECT pg_stat_force_next_flush()")
