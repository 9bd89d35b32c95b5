"""Capture from PostgreSQL's log on real databases: the same ticks as with triggers, and nothing lost on the way."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from migration_tools.capture.declaration import TableSpec
from migration_tools.capture.installation import Status, inspect, install
from migration_tools.capture.log_installation import drop_log, install_log, log_findings
from migration_tools.capture.log_reader import LogReader, read_source
from migration_tools.errors import CaptureDrift, LogLost
from migration_tools.stores.postgres import connect, slots, transaction
from migration_tools.testing.postgres import EmbeddedPostgres
from tests.conftest import SMALL_SHOP, Pair
from tests.integration.test_capture import WRITES
from tests.integration.test_phases import Road, road, writing
from tests.stage import Stage

__all__ = ["road"]

THOROUGH = pytest.mark.thorough


@pytest.fixture
def logged(pair: Pair, settings: Any) -> Iterator[Stage]:
    """The stage with the monolith's side captured from the log."""
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
        conn.execute("ALTER ROLE strangler REPLICATION")
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SOURCES": {"orders": "log"}}
    made = Stage(pair)
    yield made
    made.close()


def test_a_write_of_any_form_reaches_the_service_without_a_trigger(logged: Stage) -> None:
    logged.backfill()
    assert logged.differences() == []
    for name, statement in WRITES.items():
        logged.shop.execute(statement)
        logged.settle()
        assert logged.differences() == [], name


def test_no_statement_of_an_application_fires_a_capture_trigger(logged: Stage) -> None:
    found = logged.shop.execute(
        """SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE 'strangle%'
           AND tgname NOT LIKE '%\\_fence' AND tgname NOT LIKE '%\\_trunc'"""
    ).fetchall()
    assert found == []
    with connect("default", "test") as conn:
        assert {each.status for each in inspect(conn, logged.compiled.source)} == {Status.INSTALLED}


def test_values_that_the_log_leaves_out_because_they_are_large_arrive_whole(logged: Stage) -> None:
    """An unchanged value that is stored out of line is not in the log; the row is read in the tick's snapshot."""
    logged.shop.execute(
        "UPDATE orders_order SET note = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 2000) n) "
        "WHERE id < 4"
    )
    logged.backfill()
    logged.shop.execute("UPDATE orders_order SET status = 'paid' WHERE id < 4")
    logged.settle()
    assert logged.differences() == []
    assert logged.orders.execute("SELECT min(length(remark)) FROM sales_order WHERE id < 4").fetchone() == (64_000,)


def test_keys_whose_text_the_log_writes_otherwise_are_the_triggers_keys(logged: Stage) -> None:
    """A boolean is t in the log and true as text; a key that is compared as text would seem to have ended."""
    logged.shop.execute(
        "CREATE TABLE flags (on_air boolean, place inet, code char(4), PRIMARY KEY (on_air, place, code))"
    )
    spec = TableSpec(
        stream="flags",
        table="flags",
        key=("on_air", "place", "code"),
        is_base=True,
        watched=(),
        reported=(),
        echoes=False,
        captured=True,
        fence=None,
        logged=True,
    )
    with connect("default", "test") as conn:
        install_log(conn, "flags", [spec], wait=lambda _: None)
        conn.execute("INSERT INTO flags VALUES (true, '10.0.0.1', 'a')")
        with transaction(conn, repeatable=True):
            (touch,) = LogReader().read(conn, "flags", None)
        as_text = conn.execute("SELECT on_air::text, place::text, code::text FROM flags").fetchone()
        assert touch.keys == {"b": [list(as_text or ())]}
        drop_log(conn, "flags")
        assert read_source(conn, "flags") is None


def test_what_cannot_be_read_from_the_log_is_refused_with_every_remedy_before_anything_is_published(
    logged: Stage,
) -> None:
    logged.shop.execute("CREATE TABLE bare (id int)")
    logged.shop.execute("CREATE TABLE joined (id int PRIMARY KEY, owner int)")
    specs = [
        TableSpec(
            stream="refused",
            table=name,
            key=("id",),
            is_base=True,
            watched=(),
            reported=reported,
            echoes=False,
            captured=True,
            fence=None,
            logged=True,
        )
        for name, reported in (("bare", ()), ("joined", ("owner",)))
    ]
    with connect("default", "test") as conn:
        with pytest.raises(CaptureDrift, match="REPLICA IDENTITY FULL") as caught:
            install_log(conn, "refused", specs, wait=lambda _: None)
        assert "its updates would fail" in str(caught.value)
        assert "old ['owner']" in str(caught.value)
        assert conn.execute("SELECT count(*) FROM pg_publication WHERE pubname LIKE '%refused%'").fetchone() == (0,)


def test_a_truncation_past_its_trigger_stops_the_stream(logged: Stage) -> None:
    logged.shop.execute("ALTER TABLE orders_orderline DISABLE TRIGGER USER")
    logged.shop.execute("TRUNCATE orders_orderline")
    with pytest.raises(CaptureDrift, match="strangle_rollback orders"):
        logged.tick()


@pytest.mark.parametrize("how", ["dropped", "made anew", "read by somebody else"])
def test_a_slot_that_is_not_where_the_last_tick_left_it_stops_the_stream_and_is_not_mended(
    logged: Stage, how: str
) -> None:
    logged.backfill()
    with connect("default", "test") as conn:
        source = read_source(conn, "orders")
        assert source is not None
        logged.shop.execute("UPDATE orders_order SET note = 'lost' WHERE id = 1")
        if how == "read by somebody else":
            conn.execute(
                "SELECT count(*) FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1', "
                "'publication_names', %s)",
                [source.slot, source.publication],
            )
        else:
            slots.drop_slot(conn, source.slot)
        if how == "made anew":
            slots.create_slot(conn, source.slot, timeout_seconds=20)
        with pytest.raises(LogLost, match="monolith_only"):
            logged.tick()
        if how == "dropped":
            findings = {each.object: each.status for each in inspect(conn, logged.compiled.source)}
            assert findings["capture from the log"] is Status.DRIFTED
            with pytest.raises(LogLost):
                install(conn, logged.compiled.source, wait=lambda _: None)
        by_triggers = tuple(replace(t, logged=False) for t in logged.compiled.source.tables)
        with pytest.raises(LogLost):
            install(conn, replace(logged.compiled.source, tables=by_triggers), wait=lambda _: None)
        # The way out that the message names begins so: nothing is in the way of taking capture off.
        install(conn, replace(logged.compiled.source, tables=()), wait=lambda _: None)
        assert read_source(conn, "orders") is None


def test_a_role_that_may_not_read_the_log_is_told_what_it_needs(logged: Stage) -> None:
    with logged.pair.connect("shop", "shop_owner") as conn, conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(CaptureDrift, match="REPLICATION"):
            LogReader().read(conn, "orders", None)


def test_an_application_can_neither_read_the_token_nor_feign_the_apply_path(logged: Stage) -> None:
    logged.backfill()
    with logged.pair.connect("shop", "shop_app") as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT token FROM strangle_log_source")
        with conn.transaction():
            conn.execute("SELECT pg_logical_emit_message(true, 'strangle.applying', 'guess:patch')")
            conn.execute("UPDATE orders_order SET note = 'captured all the same' WHERE id = 1")
    logged.settle()
    assert logged.differences() == []


def test_the_slot_is_advanced_while_nothing_of_the_stream_is_written(logged: Stage) -> None:
    """What others write must not be kept for ever because this stream is quiet."""
    logged.settle()
    with connect("default", "test") as conn:
        before = read_source(conn, "orders")
        logged.shop.execute("CREATE TABLE noise AS SELECT md5(n::text) FROM generate_series(1, 40000) n")
        logged.tick()
        logged.tick()
        after = read_source(conn, "orders")
        assert before is not None
        assert after is not None
        slot = slots.read_slot(conn, after.slot)
        assert after.confirmed > before.confirmed + (1 << 20)
        assert slot is not None
        assert slot.confirmed == after.confirmed


@THOROUGH
def test_the_road_there_and_back_is_walked_with_the_log_while_customers_write(road: Road, settings: Any) -> None:
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SOURCES": {"orders": "log"}}
    with writing(road.pair):
        road.walk_to("cutover")
        road.stage.shop.execute("UPDATE accounts_user SET last_name = 'Renamed' WHERE id = 3")
        assert road.settled() == []
        log = road.run("strangle_status")["evidence"]["sides"]["source"]["log"]
        assert log["lost"] is False
        assert log["retained_bytes"] > 0
        for _ in range(5):
            road.run("strangle_rollback")
    assert road.stage.orders.execute("SELECT count(*) FROM sales_order").fetchone() == (0,)
    assert road.stage.shop.execute(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'strangle_orders%'"
        " AND database = current_database()"
    ).fetchone() == (0,)


def test_a_slot_that_keeps_more_than_its_limit_is_a_finding_and_a_closed_gate(road: Road, settings: Any) -> None:
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SOURCES": {"orders": "log"}, "LOG_RETAINED_BYTES": 1}
    road.go("strangle_dual_write")
    assert "LOG_RETAINED_BYTES" in str(road.refused("strangle_doctor"))
    assert "LOG_RETAINED_BYTES" in str(road.refused("strangle_backfill"))


@THOROUGH
def test_a_slot_that_the_server_gave_up_for_its_size_stops_the_stream() -> None:
    limits = {"wal_level": "logical", "max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "48MB"}
    with EmbeddedPostgres(options=limits) as server, psycopg.connect(server.dsn(), autocommit=True) as conn:
        conn.execute("CREATE TABLE t (id int PRIMARY KEY)")
        conn.execute(
            "CREATE TABLE strangle_log_source (stream text, slot text, publication text, token text, tables jsonb, "
            "confirmed bigint)"
        )
        slots.set_publication(conn, "p", ["t"])
        begins = slots.create_slot(conn, "s", timeout_seconds=20)
        conn.execute("INSERT INTO strangle_log_source VALUES ('t', 's', 'p', '', '{}', %s)", [begins])
        for _ in range(6):
            conn.execute("INSERT INTO t SELECT COALESCE(max(id), 0) + 1 FROM t")
            conn.execute("SELECT pg_switch_wal()")
        conn.execute("CHECKPOINT")
        with transaction(conn, repeatable=True), pytest.raises(LogLost, match="max_slot_wal_keep_size"):
            LogReader().read(conn, "t", None)
        assert "is lost" in log_findings(conn, "t")[0]
