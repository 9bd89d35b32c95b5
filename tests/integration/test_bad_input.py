"""Bad input: one clear message with what mends it, the documented exit code, and nothing changed."""

import json
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db.models import F, Value
from django.db.models.functions import Concat

from migration_tools.errors import ExitCode, Interrupted
from migration_tools.kernel import points
from migration_tools.phases import handover
from migration_tools.phases.machine import operating
from migration_tools.playbook import Playbook, Projection, Route, seconds
from migration_tools.state.journal import phase_of
from migration_tools.state.models import Context
from migration_tools.stores.postgres import connect
from migration_tools.testing.postgres import free_port
from playbooks.orders import Orders
from tests.conftest import SMALL_SHOP, Pair
from tests.integration.test_phases import ROAD, Road

STRANGER = """INSERT INTO sales_order (id, public_id, customer_id, customer_name, state, total_cents, currency,
    reference, ship_to, ordered_at, modified_at)
    VALUES (999999, gen_random_uuid(), 1, 'x', 'placed', 1, 'EUR', 'stranger', '{}', now(), now())"""


@pytest.fixture
def resting(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Road]:
    """A seeded shop before the first phase; no relay and no consumer runs."""
    monkeypatch.setattr(Orders, "gates", replace(Orders.gates, soak=seconds(0), quiet=seconds(0.2)))
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    made = Road(pair)
    yield made
    made.stage.close()


@pytest.fixture
def road(resting: Road) -> Iterator[Road]:
    """The same with relays and consumers of both directions."""
    with resting.stage.running(), resting.stage.running(reverse=True):
        yield resting


def untouched(road: Road) -> bool:
    """Neither side holds anything of the context."""
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'strangle%'"
    return (
        phase_of("orders") == "monolith_only"
        and Context.objects.filter(move__isnull=False).count() == 0
        and all(conn.execute(triggers).fetchone() == (0,) for conn in (road.stage.shop, road.stage.orders))
    )


def with_columns(monkeypatch: pytest.MonkeyPatch, **columns: Any) -> None:
    """Declare the orders' projection with other columns."""
    first, *others = Orders.projections
    changed = Projection(
        first.model, into=first.into, key=first.key, columns={**first.columns, **columns}, reverse=first.reverse
    )
    monkeypatch.setattr(Orders, "projections", [changed, *others])


def test_a_target_with_rows_that_the_source_does_not_have_is_refused_at_backfill(road: Road) -> None:
    road.go("strangle_dual_write")
    with road.stage.orders.transaction():
        road.stage.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        road.stage.orders.execute(STRANGER)
    error = road.refused("strangle_backfill")
    assert error.returncode == ExitCode.GATE_NOT_MET
    assert "'sales_order' holds 1 rows that the source does not have (keys 999999" in str(error)
    assert "strangle_backfill orders --replace" in str(error)
    assert phase_of("orders") == "dual_write"
    assert road.stage.orders.execute("SELECT count(*) FROM sales_order").fetchone() == (1,)
    road.go("strangle_backfill --replace")
    assert road.settled() == []


def test_a_column_that_the_target_lacks_is_named(resting: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    with_columns(monkeypatch, colour=F("status"), shape=F("status"))
    error = resting.refused("strangle_dual_write")
    assert error.returncode == ExitCode.ERROR
    assert "has 2 mistakes" in str(error)
    assert "'sales_order' has no column 'colour'; it has ['currency'," in str(error)
    assert "no column 'shape'" in str(error)
    assert untouched(resting)


def test_a_column_of_a_type_that_cannot_become_the_targets_is_named(
    resting: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_columns(monkeypatch, paid_at=F("user__id"))
    error = resting.refused("strangle_dual_write")
    assert error.returncode == ExitCode.ERROR
    assert "'sales_order'" in str(error)
    assert "cannot cast type bigint to timestamp with time zone" in str(error)
    assert untouched(resting)


@pytest.mark.parametrize(("side", "table"), [("orders", "sales_orderitem"), ("shop", "orders_orderline")])
def test_a_table_without_a_primary_key_is_named(resting: Road, side: str, table: str) -> None:
    getattr(resting.stage, side).execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
    error = resting.refused("strangle_dual_write")
    assert error.returncode == ExitCode.ERROR
    assert f"table {table!r} has no primary key; add one" in str(error)
    assert untouched(resting)


class Wrong(Playbook):
    """Five mistakes that can be seen without a database."""

    context = "wrong"
    source = "nowhere"
    target = "default"
    projections = [
        Projection("orders.Nothing", into="a", key={"id": "id"}, columns={}),
        Projection("orders.Order", into="b", key={"id": "no_such_field"}, columns={}),
        Projection(
            "orders.OrderLine",
            into="c",
            key={"id": "id"},
            columns={"x": Concat("order__user__shoe_size", Value("!"))},
        ),
    ]
    routes = [Route("api/without/slash", service="orders")]


@pytest.mark.django_db
def test_five_mistakes_of_a_playbook_are_reported_as_five_by_check(
    pair: Pair, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("wrong_playbook")
    monkeypatch.setattr(Wrong, "__module__", module.__name__)
    module.Wrong = Wrong  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Wrong, "source", "")
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "PLAYBOOKS": [module.__name__]}
    with pytest.raises(SystemCheckError) as caught:
        call_command("check")
    text = str(caught.value)
    assert text.count("strangle.E010") == 5
    for fragment in (
        "names no source database",
        "no model 'orders.Nothing'",
        "'no_such_field'",
        "shoe_size",
        "'api/without/slash' must begin with '/'",
    ):
        assert fragment in text


def test_a_second_operator_is_refused_and_told_who_is_first(road: Road) -> None:
    road.go("strangle_dual_write")
    with connect("default", "the night shift") as other, operating(other, "orders"):
        for command in ("strangle_backfill", "strangle_rollback"):
            error = road.refused(command)
            assert error.returncode == ExitCode.LOCKED
            assert "strangle:the night shift" in str(error)
            assert "strangle_status orders" in str(error)
    assert phase_of("orders") == "dual_write"
    assert Context.objects.get().move is None


def test_a_gate_that_is_not_met_names_everything_that_is_missing(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    road.go(*ROAD[:3])
    monkeypatch.setattr(Orders, "gates", replace(Orders.gates, soak=seconds(3_600), clean_verifications=9))
    error = road.refused("strangle_switch_reads", "--percent", "100")
    assert error.returncode == ExitCode.GATE_NOT_MET
    assert "nothing was changed" in str(error)
    assert "of 9 clean verifications" in str(error)
    assert "strangle_verify orders" in str(error)
    assert phase_of("orders") == "verify"
    assert Context.objects.get().move is None


def test_two_sides_in_one_database_are_refused(resting: Road) -> None:
    done = resting.pair.manage("strangle_dual_write", "orders", ORDERS_DB_NAME=resting.pair.shop)
    assert done.returncode == ExitCode.ERROR
    assert "DATABASES['default'] and DATABASES['orders'] are one database" in done.stderr
    assert "strangle_provision" in done.stderr
    assert "Traceback" not in done.stderr
    assert untouched(resting)


@pytest.mark.parametrize("command", ["strangle_dual_write", "strangle_cutover", "strangle_rollback"])
def test_a_service_whose_database_is_down_is_named(resting: Road, command: str) -> None:
    done = resting.pair.manage(command, "orders", ORDERS_DB_PORT=str(free_port()))
    assert done.returncode == ExitCode.ERROR
    assert "database 'orders' does not answer" in done.stderr
    assert "then run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert untouched(resting)


def test_the_status_tells_what_it_can_while_the_services_database_is_down(resting: Road) -> None:
    done = resting.pair.manage("strangle_status", "orders", ORDERS_DB_PORT=str(free_port()))
    assert done.returncode == ExitCode.DONE, done.stderr
    assert "phase monolith_only" in done.stdout
    assert "does not answer" in done.stdout


@pytest.mark.thorough
def test_a_consumer_that_is_down_at_the_cutover_leaves_the_old_owner_writing(
    resting: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "EVENTS_SECONDS", 0.5)
    with resting.stage.running(), resting.stage.running(reverse=True):
        resting.go(*ROAD[:4])
    resting.stage.shop.execute("UPDATE orders_order SET note = 'not handled yet' WHERE id = 1")
    error = resting.refused("strangle_cutover")
    assert error.returncode == ExitCode.ERROR
    assert "the source owns it as before" in str(error)
    assert "strangle_consume orders" in str(error)
    with resting.pair.connect("shop", "shop_app") as shop:
        shop.execute("UPDATE orders_order SET note = 'still the owner' WHERE id = 1")
    with resting.pair.connect("orders", "orders_app") as app, pytest.raises(psycopg.OperationalError) as caught:
        app.execute("UPDATE sales_order SET remark = 'not yet' WHERE id = 1")
    assert caught.value.sqlstate == "40S01"
    with resting.stage.running(), resting.stage.running(reverse=True):
        resting.go("strangle_cutover")
        assert phase_of("orders") == "cutover"
        assert resting.settled() == []


def test_a_consumer_silent_for_long_is_a_gate_not_met(resting: Road, settings: Any) -> None:
    with resting.stage.running(), resting.stage.running(reverse=True):
        resting.go(*ROAD[:4])
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "CONSUMER_ALIVE_SECONDS": 0.0}
    error = resting.refused("strangle_cutover")
    assert error.returncode == ExitCode.GATE_NOT_MET
    assert "has not been heard of; start strangle_consume orders" in str(error)
    assert phase_of("orders") == "switch_reads"


def test_a_checkpoint_of_an_older_playbook_is_refused_and_restart_mends_it(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.go("strangle_dual_write")

    def interrupt() -> None:
        raise Interrupted("the operator went home")

    with points.on("copy.after_commit", interrupt):
        assert road.refused("strangle_backfill").returncode == ExitCode.INTERRUPTED
    with_columns(monkeypatch, customer_name=Concat("user__last_name", Value(", "), "user__first_name"))
    error = road.refused("strangle_backfill")
    assert error.returncode == ExitCode.GATE_NOT_MET
    assert "older playbook" in str(error)
    assert "strangle_backfill orders --restart" in str(error)
    assert phase_of("orders") == "dual_write"
    road.go("strangle_backfill --restart")
    road.run("strangle_verify")
    assert road.stage.orders.execute("SELECT count(*) FROM sales_order WHERE customer_name LIKE '%, %'").fetchone() == (
        300,
    )
    road.stage.shop.execute("UPDATE accounts_user SET last_name = 'Later' WHERE id = 2")
    road.run("strangle_verify")
    names = road.stage.orders.execute("SELECT DISTINCT customer_name FROM sales_order WHERE customer_id = 2").fetchall()
    assert [name.startswith("Later, ") for (name,) in names] == [True]


def test_a_playbook_changed_in_the_middle_of_a_backfill_does_not_go_on_by_the_old_mapping(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The changed projection has no checkpoint yet, so nothing is stale; but what is installed is."""
    road.go("strangle_dual_write")

    def interrupt() -> None:
        raise Interrupted("the operator went home")

    with points.on("copy.after_commit", interrupt):
        road.refused("strangle_backfill")
    order, line = Orders.projections
    changed = Projection(
        line.model,
        into=line.into,
        key=line.key,
        columns={**line.columns, "qty": F("quantity") * 2},
        reverse={**line.reverse, "quantity": F("qty") / 2},
    )
    monkeypatch.setattr(Orders, "projections", [order, changed])
    error = road.refused("strangle_backfill")
    assert error.returncode == ExitCode.ERROR
    assert "relation sales_orderitem on the source is outdated; run strangle_doctor orders --mend" in str(error)
    road.go("strangle_doctor --mend", "strangle_backfill")
    road.run("strangle_verify")
    assert road.stage.orders.execute("SELECT DISTINCT qty FROM sales_orderitem").fetchall() == [(4,)]


@pytest.mark.parametrize(
    "line",
    [
        "strangle_advise nothing",
        "strangle_dead_letters show orders --position 4711",
        "strangle_event_store snapshots nothing",
        "strangle_export nothing --to parquet --path nowhere",
        "strangle_guard check",
        "strangle_loose_key orphans nothing.X.y",
        "strangle_projection new nothing",
        "strangle_rebuild nothing",
        "strangle_replay nothing --after 0",
        "strangle_report audit nothing",
        "strangle_route rollback 4711",
        "strangle_sagas show 4711",
        "strangle_sessions status",
        "strangle_shard show nothing",
        "strangle_sor nothing",
        "strangle_state_events nothing",
        "strangle_status nothing",
    ],
)
def test_a_program_is_told_of_a_failure_by_one_object_with_the_sentence_and_the_code(pair: Pair, line: str) -> None:
    out = StringIO()
    with pytest.raises(CommandError) as failed:
        call_command(*line.split(), "--format", "json", stdout=out)
    told = json.loads(out.getvalue())
    assert (told["error"], told["exit_code"]) == (str(failed.value), failed.value.returncode)
    quiet = StringIO()
    with pytest.raises(CommandError):
        call_command(*line.split(), stdout=quiet)
    assert quiet.getvalue() == "", "people read it from standard error"
