"""Tools that are told to stop in the middle, or whose database goes away: a sentence, a code, and they go on."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from migration_tools.errors import ExitCode
from migration_tools.exports.parquet import current_rows
from migration_tools.kernel import points
from migration_tools.phases import dumps
from migration_tools.replication.declaration import Copy
from migration_tools.state.journal import phase_of
from tests.conftest import ROOT, SMALL_SHOP, Pair
from tests.examples.served import Served
from tests.integration.replication_rig import keeper, kept, rows
from tests.integration.test_foreign import DEBEZIUM, crm, emails, event, site
from tests.integration.test_phases import ROAD, Road, road
from tests.integration.test_read_model_rebuild import EVENTS, shop
from tests.integration.test_replication import customers, users
from tests.operators import IMPATIENT
from tests.races.scene import until
from tests.read_model_rig import shown
from tests.stopping import SECONDS, assert_stopped, finished, manage, told_to_stop

__all__ = ["crm", "customers", "keeper", "kept", "road", "shop", "site", "users"]

SHOP = {"DJANGO_SETTINGS_MODULE": "legacy_monolith.settings"}
CHANGES = 400


def cutting_off(conn: psycopg.Connection[Any], backend: int) -> Callable[[], None]:
    """What ends a session, as a failover does."""

    def end() -> None:
        conn.execute("SELECT pg_terminate_backend(%s)", [backend])

    return end


def terminate() -> None:
    """Send SIGTERM to this process, as its operator does."""
    os.kill(os.getpid(), signal.SIGTERM)


def test_an_ingestion_stops_after_what_it_has_read_and_all_of_it_again_is_each_change_once(
    crm: Any, site: Pair, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "lines"
    path.write_text("".join(event("c", n, None, {"id": n, "email": str(n)}) + "\n" for n in range(1, CHANGES + 1)))
    env = {**site.environment(user="postgres"), **SHOP}
    tools = {"FOREIGN": {"crm": DEBEZIUM}, "BATCH_ROWS": 50}
    words = manage("strangle_ingest", "crm", tools=tools)
    done = told_to_stop([*words, "--file", str(path)], env, "foreign.after_commit", tmp_path)
    assert_stopped(done, "stopped before the end of the input", "what is known changes nothing")
    half = len(emails(crm))
    assert 0 < half < CHANGES
    assert done.stdout == f"{half} applied, 0 known, 0 ignored\n"
    call_command("strangle_ingest", "crm", "--file", str(path))
    assert f"{CHANGES - half} applied, {half} known, 0 ignored" in capsys.readouterr().out
    assert len(emails(crm)) == CHANGES


def test_a_pipe_that_pauses_is_applied_meanwhile_and_waiting_for_it_ends_at_once(crm: Any, site: Pair) -> None:
    env = {**site.environment(user="postgres"), **SHOP}
    words = manage("strangle_ingest", "crm", tools={"FOREIGN": {"crm": DEBEZIUM}})
    with Popen(words, cwd=ROOT, env=env, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as child:
        try:
            assert child.stdin is not None
            child.stdin.write(event("c", 1, None, {"id": 1, "email": "first"}) + "\n" + '{"half": ')
            child.stdin.flush()
            until(lambda: emails(crm) == {1: "first"} or child.poll() is not None, "the line is applied", SECONDS)
            child.terminate()
            assert child.wait(SECONDS) == ExitCode.INTERRUPTED
            assert child.stdout is not None
            assert child.stdout.read() == "1 applied, 0 known, 0 ignored\n"
        finally:
            child.kill()


def test_an_ingestion_whose_database_goes_away_keeps_its_totals(crm: Any, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "lines"
    path.write_text(event("c", 1, None, {"id": 1, "email": "a"}))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        end = cutting_off(crm, cursor.fetchone()[0])
    with points.on("foreign.before_commit", end), pytest.raises(CommandError, match=r"a database failed: ") as failed:
        call_command("strangle_ingest", "crm", "--file", str(path))
    connection.close()
    assert failed.value.returncode == ExitCode.ERROR
    assert "0 applied" in capsys.readouterr().out
    assert emails(crm) == {}
    with pytest.raises(CommandError, match=r"nowhere cannot be read: No such file"):
        call_command("strangle_ingest", "crm", "--file", str(tmp_path / "nowhere"))


def test_a_copy_of_others_data_stops_between_two_pages_and_is_learned_again(
    customers: Copy, users: Any, capsys: Any
) -> None:
    with points.on("replication.page", terminate), pytest.raises(CommandError) as stopped:
        call_command("strangle_replicate", "rebuild", "customers")
    assert stopped.value.returncode == ExitCode.INTERRUPTED
    assert "rows of copy 'customers'" in str(stopped.value)
    assert "Run the same command again: it begins anew" in str(stopped.value)
    call_command("strangle_replicate", "rebuild", "customers")
    assert "learn copy 'customers': 60" in capsys.readouterr().err
    assert rows("SELECT count(*), count(DISTINCT id) FROM customer") == [(60, 60)]


def test_a_copy_says_in_a_sentence_what_would_be_done_and_that_its_database_went_away(
    customers: Copy, users: Any, kept: Served
) -> None:
    rows("INSERT INTO customer VALUES (3, 'planted'), (99, 'gone')")
    before = rows("SELECT * FROM customer ORDER BY id")
    for task, says in (
        ("reconcile", "with --repair they would be made equal"),
        ("rebuild", "all rows would be learned"),
    ):
        out = StringIO()
        with pytest.raises(SystemExit) if task == "reconcile" else nullcontext():  # exit code 3: they differ
            call_command("strangle_replicate", task, "customers", "--dry-run", stdout=out)
        assert "Of 60 rows of the source of 'customers': 59 are missing, 1 differ, 1 are too many" in out.getvalue()
        assert says in out.getvalue()
        assert out.getvalue().endswith("Nothing was touched.\n")
    assert rows("SELECT * FROM customer ORDER BY id") == before
    backend = rows("SELECT pg_backend_pid()")[0][0]
    with psycopg.connect(kept.dsn(kept.database, "postgres"), autocommit=True) as other:
        end = cutting_off(other, backend)
        with points.on("replication.page", end), pytest.raises(CommandError, match=r"a database failed: .*the same"):
            call_command("strangle_replicate", "reconcile", "customers", "--repair")
    connection.close()


def test_a_table_that_is_missing_is_a_sentence_where_django_does_not_ask_for_it(pair: Pair) -> None:
    with pair.connect("shop") as conn:
        conn.execute("ALTER TABLE strangle_tick RENAME TO elsewhere")
        with pytest.raises(CommandError, match=r"a table is missing .*strangle_tick.*run manage.py migrate"):
            call_command("strangle_prune")


REBUILD = """
import sys
import django
django.setup()
from extracted_services.dashboard import read_models as dashboard
from migration_tools.management.commands import strangle_rebuild
from migration_tools.projections.registry import register
from tests.read_model_rig import open_feed
register(dashboard.OrderSummary())
strangle_rebuild.open_feed = open_feed
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "strangle_rebuild", "order_summary"])
"""


@pytest.mark.thorough
def test_a_rebuild_stops_between_two_batches_and_goes_on_in_its_slot(shop: Pair, tmp_path: Path, capsys: Any) -> None:
    before = shown("order_summary")
    env = {**shop.environment(user="postgres"), **SHOP}
    done = told_to_stop([sys.executable, "-c", REBUILD], env, "rebuild.batch", tmp_path)
    assert_stopped(done, f"slot 2 of 'order_summary' has read 'orders' up to {EVENTS}", "to go on")
    assert shown("order_summary") == before
    call_command("strangle_rebuild", "order_summary")
    assert shown("order_summary") == before
    said = capsys.readouterr()
    assert "'order_summary' is served from slot 2" in said.out
    assert f"read orders: {EVENTS} of {EVENTS} (100 %)" in said.err


@pytest.mark.thorough
def test_an_export_stops_and_what_it_had_begun_does_not_count(pair: Pair, tmp_path: Path) -> None:
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    cold = tmp_path / "cold"
    words = [sys.executable, "manage.py", "strangle_export", "orders", "--to", "parquet", "--path", str(cold)]
    env = pair.environment(operator=True)
    done = told_to_stop(words, env, "exports.read", tmp_path)
    assert_stopped(done, "stopped; 0 of 2 tables are exported. Run the same command again")
    assert list(cold.rglob("*.json")) == []
    again = finished(words, env)
    assert again.returncode == 0, again.stderr
    assert "export orders_order: 300" in again.stderr
    assert (len(current_rows(cold / "orders_order")), len(current_rows(cold / "orders_orderline"))) == (300, 750)


@pytest.mark.thorough
def test_a_backfill_stops_at_a_chunk_and_goes_on_from_it(road: Road, tmp_path: Path) -> None:
    road.run("strangle_dual_write")
    words = [sys.executable, "manage.py", "strangle_backfill", "orders", "--workers", "1"]
    env = {**road.pair.environment(operator=True), "DJANGO_SETTINGS_MODULE": "tests.small_chunks"}
    done = told_to_stop(words, env, "copy.after_commit", tmp_path)
    assert_stopped(done, "stopped", "run the same command again")
    [(here, known)] = road.stage.orders.execute(
        "SELECT (SELECT count(*) FROM sales_order), rows FROM strangle_copied_range WHERE projection = 'sales_order'"
    ).fetchall()
    assert 0 < here == known < 300
    again = finished(words, env)
    assert again.returncode == 0, again.stderr
    assert f"copy sales_order: {here}" not in again.stderr
    assert road.settled() == []


MORE_ORDERS = """
    INSERT INTO orders_order (public_id, user_id, status, total, currency, client_reference, shipping_address,
        placed_at, updated_at)
    SELECT gen_random_uuid(), 1, 'placed', 1, 'EUR', '', '{}', now(), now() FROM generate_series(1, 2500)
"""
OLD_TABLES = """
    SELECT c.oid::regclass::text, c.relfilenode FROM pg_class c
    WHERE relname LIKE 'orders\\_%' AND relkind = 'r' ORDER BY 1
"""


@pytest.mark.thorough
def test_a_final_dump_stops_in_the_middle_of_a_table_and_leaves_no_half_of_it(road: Road, tmp_path: Path) -> None:
    road.stage.shop.execute(MORE_ORDERS)
    road.go(*ROAD[:5])
    there, place = road.stage.shop.execute(OLD_TABLES).fetchall(), tmp_path / "final"
    words = [sys.executable, "manage.py", "strangle_decommission", "orders", "--directory", str(place)]
    env = {**road.pair.environment(operator=True), **IMPATIENT}
    assert [name for name, _ in there] == ["orders_order", "orders_orderline"]
    done = told_to_stop(words, env, "dumps.rows", tmp_path)
    assert_stopped(done, "stopped; what is done is kept: run the same command again", "dump orders_order: ")
    assert "dump orders_orderline" not in done.stderr
    assert list(place.iterdir()) == []
    assert (phase_of("orders"), road.stage.shop.execute(OLD_TABLES).fetchall()) == ("cutover", there)
    again = finished(words, env)
    assert again.returncode == 0, again.stderr
    assert phase_of("orders") == "decommission"
    assert {path.name for path in place.iterdir()} == {
        "manifest.json",
        *(f"{table}.copy" for table in ("orders_order", "orders_orderline")),
    }
    assert dumps.read_manifest(place)["tables"]["orders_order"]["rows"] == 2800
    road.run("strangle_rollback")
    assert road.settled() == []
    # What there was under the names stays until the new dump is whole.
    (tmp_path / "again").mkdir()
    road.run("strangle_verify")
    whole = {path.name: path.read_bytes() for path in place.iterdir()}
    assert_stopped(told_to_stop(words, env, "dumps.rows", tmp_path / "again"), "stopped")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == whole
