"""The proof that nobody uses the old tables: whoever does is named, and a watch may last for days."""

import datetime as dt
import threading

import psycopg
import pytest
from django.utils import timezone

from migration_tools.phases.quiet import STEP, sessions_on
from migration_tools.state.journal import phase_of, read_context
from migration_tools.state.models import JournalEntry
from migration_tools.testing.postgres import EmbeddedPostgres
from tests.integration.test_phases import ROAD, Road, road
from tests.races.scene import until

__all__ = ["road"]


@pytest.mark.thorough
def test_a_reader_is_named_by_role_and_application_and_the_move_is_taken_back(road: Road) -> None:
    road.go(*ROAD[:5])
    stop = threading.Event()

    def read() -> None:
        with road.pair.connect("shop", "shop_app", application_name="nightly report") as conn:
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
    assert "by role 'shop_app' (nightly report)" in str(error)
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
