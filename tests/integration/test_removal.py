"""After the decommission: the final dump restores elsewhere, and the old tables go for good once nobody is left."""

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from psycopg import sql

from migration_tools.capture.ownership import owned_here
from migration_tools.errors import StrangleError
from migration_tools.kernel import points
from migration_tools.phases.quiet import STEP
from migration_tools.routing import publishing
from migration_tools.routing.counts import Counts, Observed
from migration_tools.routing.rules import ReadRule
from migration_tools.routing.table import with_rule
from migration_tools.routing.traffic import report_traffic
from migration_tools.state.journal import phase_of, read_context
from migration_tools.state.models import JournalEntry
from tests.integration.test_phases import ROAD, Road, road, said_by
from tests.operators import IMPATIENT, killed
from tests.races.scene import beside
from tests.races.test_archive import await_that

__all__ = ["road"]

OLD = ("orders_order", "orders_orderline")
SCHEMA = "strangle_quarantine_orders"


@pytest.fixture
def scratch(road: Road) -> Iterator[str]:
    """A database of its own to restore into, as the alias 'scratch': the operator of the tests may make none."""
    name = f"scratch_{road.pair.shop}"
    with psycopg.connect(road.pair.cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {} OWNER strangler").format(sql.Identifier(name)))
    connections.settings["scratch"] = {**connections.settings["default"], "NAME": name}
    connections["scratch"].settings_dict.update({**connections["default"].settings_dict, "NAME": name})
    yield "scratch"
    connections["scratch"].close()
    del connections.settings["scratch"], connections["scratch"]
    with psycopg.connect(road.pair.cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def left(conn: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """What of the toolkit's is on tables of the orders context or in its books, by independent SQL."""

    def names(query: str) -> list[str]:
        return sorted(str(row[0]) for row in conn.execute(query).fetchall())

    return {
        "triggers": names("SELECT tgname FROM pg_trigger WHERE tgname ~ '^strangle_orders_(orders|sales)_order'"),
        "functions": names("SELECT proname FROM pg_proc WHERE proname ~ '^strangle_orders_(orders|sales)_order'"),
        "tables": names("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^orders_order'"),
        "schemas": names(f"SELECT nspname FROM pg_namespace WHERE nspname = '{SCHEMA}'"),
        "relations": names("SELECT projection FROM strangle_relation WHERE stream = 'orders' AND owned AND active"),
        "ranges": names("SELECT projection FROM strangle_copied_range WHERE stream = 'orders'"),
        "captured": names("SELECT table_name FROM strangle_captured_table WHERE fenced"),
    }


@contextmanager
def reading(road: Road, statement: str) -> Iterator[None]:
    """Somebody who still asks, again and again, as an application of the monolith."""

    def ask(stop: threading.Event) -> None:
        with road.pair.connect("shop", application_name="month end") as conn:
            while not stop.is_set():
                with conn.transaction():
                    conn.execute(statement)
                    stop.wait(0.6)

    with beside(ask):
        yield


def written_past_the_fence(road: Road, statement: str) -> None:
    """As a superuser can; in a session that ends, since the counters of an idle one come late."""
    with road.pair.connect("shop") as conn, conn.transaction():
        conn.execute("SET LOCAL strangle.applying = 'patch'")
        assert conn.execute(sql.SQL(statement).format(sql.Identifier(SCHEMA))).rowcount == 1


def breaks_off() -> None:
    raise StrangleError("broke off")


@pytest.mark.thorough
def test_the_old_tables_go_for_good_when_the_last_reader_has_gone_and_the_dump_restores(
    road: Road, scratch: str, tmp_path: Path
) -> None:
    place = tmp_path / "dump"
    ask = ("strangle_decommission", "--remove", "--scratch", scratch)
    assert "put them away" in str(road.refused(*ask))
    with road.pair.connect("shop") as conn:
        before = conn.execute("SELECT * FROM orders_order ORDER BY id").fetchall()
    road.go(*ROAD[:5], f"strangle_decommission --directory {place}")
    road.stage.shop.execute(f"CREATE VIEW month_end AS SELECT id FROM {SCHEMA}.orders_order")
    rule = ReadRule(side="old", cohort="staff")
    publishing.publish(lambda table: with_rule(table, "orders", rule), author="test", reason="staff to the monolith")

    # One reader is left: an object that asks when it is asked, and then a session.
    error = road.refused(*ask)
    assert error.returncode == 4
    assert "view month_end uses table 'orders_order'" in str(error)
    road.stage.shop.execute("DROP VIEW month_end")
    road.stage.shop.execute(f"CREATE TABLE public.orders_order (LIKE {SCHEMA}.orders_order INCLUDING ALL)")
    assert "'public' has a table 'orders_order' of the same name" in str(road.refused(*ask))
    road.stage.shop.execute("DROP TABLE public.orders_order")
    with reading(road, f"SELECT count(*) FROM {SCHEMA}.orders_orderline"):
        error = road.refused(*ask)
    assert error.returncode == 4
    assert "'orders_orderline' was read or written" in str(error)
    assert "by role 'postgres' (month end)" in str(error)
    assert left(road.stage.shop)["tables"], "a refusal leaves everything"

    # The dump is what an operator can restore; a byte that was changed is found and stops the removal.
    told = road.run("strangle_archive", "--scratch", scratch, "--keep")["evidence"]
    assert told["rows"].keys() == {"orders_order", "orders_orderline"} | told["rows"].keys()
    assert told["references_left_out"], "of users, who are not in the dump"
    with psycopg.connect(road.pair.cluster.dsn(f"scratch_{road.pair.shop}"), autocommit=True) as conn:
        kept = conn.execute("SELECT * FROM strangle_restored_orders.orders_order ORDER BY id").fetchall()
        assert kept == before
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            conn.execute("DELETE FROM strangle_restored_orders.orders_order WHERE id = 1")
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("INSERT INTO strangle_restored_orders.orders_order SELECT * FROM strangle_restored_orders"
                         ".orders_order LIMIT 1")  # fmt: skip
    file = place / "orders_order.copy"
    good = file.read_bytes()
    file.write_bytes(good[:200] + bytes([good[200] ^ 1]) + good[201:])
    for command in (("strangle_archive", "--scratch", scratch), ask):
        error = road.refused(*command)
        assert error.returncode == 3
        assert "does not have the checksum" in str(error)
    file.write_bytes(good)

    # A row that somebody changed past the fence is not what was dumped.
    written_past_the_fence(road, "UPDATE {}.orders_order SET note = note || 'x' WHERE id = 2")
    assert "'orders_order' in quarantine is not what was dumped" in str(road.refused(*ask))
    written_past_the_fence(road, "UPDATE {}.orders_order SET note = left(note, -1) WHERE id = 2")

    # A watch of days survives the operator's own reading of the tables, when the removal breaks off after it.
    ask = (*ask, "--quiet-days", "7")
    assert "7.00 days are left" in str(road.refused(*ask))
    entry = JournalEntry.objects.filter(step=STEP).latest("id")
    entry.evidence["at"] = (timezone.now() - dt.timedelta(days=8)).isoformat()
    entry.save()
    with points.on("removal.proved", breaks_off):
        assert "broke off" in str(road.refused(*ask))

    road.stage.shop.execute("CREATE ROLE orders_writer")
    try:
        road.stage.shop.execute("GRANT SELECT, INSERT ON accounts_user, strangle_context TO orders_writer")
        evidence = road.run(*ask)["evidence"]
        assert evidence["revoked"] == ["accounts_user", "strangle_context"]
        with road.pair.connect("shop") as conn, conn.transaction(force_rollback=True):
            conn.execute("SET LOCAL ROLE orders_writer")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("SELECT count(*) FROM accounts_user")
    finally:
        road.stage.shop.execute("DROP OWNED BY orders_writer; DROP ROLE orders_writer")
    _nothing_is_left(road)
    assert {each["role"] for each in evidence["grants"]} >= {"shop_app"}
    assert evidence["route"] == "to the service alone"
    route = publishing.current().context("orders")
    assert (route.rules, route.reads_percent, route.writes) == ((), 100.0, "new")

    # The end: no way back, the same command says so, the dump is still there for whoever needs it.
    assert "was removed already" in road.run(*ask)["message"]
    error = road.refused("strangle_rollback")
    assert error.returncode == 4
    assert "no way back" in str(error)
    road.run("strangle_archive", "--scratch", scratch)
    assert "the old tables were dropped on" in said("strangle_status")
    assert said_by("strangle_report", "audit") == "audit of orders: the record holds together"


@pytest.mark.thorough
def test_routes_are_dropped_when_no_proxy_is_asked_for_the_paths_any_more(
    road: Road, scratch: str, tmp_path: Path
) -> None:
    """Reads that came on any day of the watch count, not those of its last seconds alone."""
    road.go(*ROAD[:5])
    road.run("strangle_decommission", "--directory", str(tmp_path))
    assert "orders" in publishing.current().contexts
    ask = ("strangle_decommission", "--remove", "--drop-routes", "--scratch", scratch)
    plan = road.run(*ask, "--dry-run")["plan"]
    assert plan[-1] == "Take the context's paths out of the proxy's table."

    def seen_by_a_proxy() -> None:
        report_traffic("edge-1", [Observed(context="orders", side="new", counts=Counts(requests=3))])

    def days_pass() -> None:
        entry = JournalEntry.objects.filter(step=STEP).latest("id")
        entry.evidence["at"] = (timezone.now() - dt.timedelta(days=8)).isoformat()
        entry.save()

    seen_by_a_proxy()
    assert "7.00 days are left" in str(road.refused(*ask, "--quiet-days", "7"))
    seen_by_a_proxy()
    days_pass()
    error = road.refused(*ask, "--quiet-days", "7")
    assert error.returncode == 4
    assert "3 reads of 'orders' came through proxy 'edge-1' during the watch" in str(error)
    assert left(road.stage.shop)["tables"], "a refusal leaves everything"
    assert "7.00 days are left" in str(road.refused(*ask, "--quiet-days", "7")), "and the watch begins anew"
    days_pass()
    evidence = road.run(*ask, "--quiet-days", "7")["evidence"]
    assert evidence["route"] == "dropped"
    assert "orders" not in publishing.current().contexts
    _nothing_is_left(road)


@pytest.mark.thorough
def test_a_removal_that_is_killed_again_and_again_is_completed_by_the_same_command(road: Road, tmp_path: Path) -> None:
    road.go(*ROAD[:5], f"strangle_decommission --directory {tmp_path}")
    road.stage.shop.execute("ALTER ROLE strangler CREATEDB")
    killed(road.pair, "strangle_decommission --remove", "removal.proved")
    assert read_context("orders").move is None, "nothing was changed, and everything can still be undone"
    for point in ("removal.dropped", "removal.service_done", "removal.routes_done"):
        killed(road.pair, "strangle_decommission --remove", point)
        assert read_context("orders").move == "remove"
        error = road.refused("strangle_rollback")
        assert error.returncode == 4
        assert "complete it with strangle_decommission orders --remove" in str(error)
    assert "strangle_decommission orders --remove completes it" in said("strangle_status")
    done = road.pair.manage("strangle_decommission", "orders", "--remove", **IMPATIENT)
    assert done.returncode == 0, done.stderr
    _nothing_is_left(road)
    assert JournalEntry.objects.filter(move="remove", step="completed").count() == 1
    scratch = "SELECT datname FROM pg_database WHERE datname ~ '^strangle_scratch_' AND strpos(datname, %s) > 0"
    assert road.stage.shop.execute(scratch, [road.pair.shop]).fetchall() == []


def said(command: str) -> str:
    out = StringIO()
    call_command(command, "orders", stdout=out)
    return out.getvalue()


def _nothing_is_left(road: Road) -> None:
    assert all(not found for found in left(road.stage.shop).values()), left(road.stage.shop)
    service = left(road.stage.orders)
    assert not any(service[kind] for kind in ("triggers", "functions", "relations")), service
    assert phase_of("orders") == "decommission"
    assert read_context("orders").move is None
    assert not owned_here("orders"), "the monolith's code still knows whose the context is"
    told = "SELECT side = owner FROM strangle_ownership WHERE context = 'orders'"
    assert road.stage.orders.execute(told).fetchone() == (True,), "and so does the service's"
    road.stage.shop.execute("UPDATE catalog_product SET name = 'renamed at last' WHERE id = 1")
    await_that(
        lambda: (
            road.stage.orders.execute("SELECT name FROM sales_product WHERE id = 1").fetchone() == ("renamed at last",)
        ),
        "the replica of the catalogue follows as before",
    )
    with road.pair.connect("orders", "orders_app") as conn:
        conn.execute("UPDATE sales_order SET remark = 'the service goes on' WHERE id < 5")
