"""The proof that nobody uses the old tables: whoever does is named, and a watch may last for days."""

import datetime as dt
import threading

import psycopg
import pytest
from django.utils import timezone

from migration_tools.phases.quiet import STEP
from migration_tools.state.journal import phase_of, read_context
from migration_tools.state.models import JournalEntry
from tests.integration.test_phases import ROAD, Road, road

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
