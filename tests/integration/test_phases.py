"""The phase harness: every phase is started, rolled back, started again and completed, while customers write."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from migration_tools.phases.signals import phase_changed
from migration_tools.playbook import seconds
from migration_tools.state.journal import phase_of, read_context
from migration_tools.state.models import JournalEntry
from playbooks.orders import Orders
from tests.conftest import SMALL_SHOP, Pair
from tests.stage import ORDERS_SOURCE, ORDERS_TARGET, Stage, write_at_random


@pytest.fixture
def road(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator["Road"]:
    """A seeded shop before the first phase, with relays and consumers of both directions running."""
    from dataclasses import replace

    monkeypatch.setattr(Orders, "gates", replace(Orders.gates, soak=seconds(0), quiet=seconds(0.2)))
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    made = Road(pair)
    with made.processes():
        yield made


class Road:
    """Runs commands in process and compares both sides by independent SQL."""

    def __init__(self, pair: Pair):
        self.stage = Stage.__new__(Stage)
        self.stage.pair = pair
        self.stage.shop = pair.connect("shop")
        self.stage.orders = pair.connect("orders")
        self.pair = pair

    @contextmanager
    def processes(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self.stage.running())
            stack.enter_context(self.stage.running(reverse=True))
            stack.callback(self.stage.close)
            yield

    def run(self, command: str, *args: str) -> dict[str, Any]:
        out = StringIO()
        call_command(command, "orders", *args, "--format", "json", stdout=out)
        return json.loads(out.getvalue())

    def refused(self, command: str, *args: str) -> CommandError:
        with pytest.raises(CommandError) as caught:
            self.run(command, *args)
        return caught.value

    def go(self, *commands: str) -> None:
        for command in commands:
            self.run(*command.split())

    def walk_to(self, phase: str) -> None:
        """Go through every move up to a phase."""
        self.go(*ROAD[: PHASES.index(phase)])

    def settled(self) -> list[Any]:
        """Differences once everything in flight has arrived."""
        self.run("strangle_verify")
        return self.stage.differences()


def said_by(command: str, *args: str) -> str:
    """The first line that a command prints for people."""
    out = StringIO()
    call_command(command, *args, "orders", stdout=out)
    return out.getvalue().partition("\n")[0]


ROAD = [
    "strangle_dual_write",
    "strangle_backfill",
    "strangle_verify",
    "strangle_switch_reads --percent 100",
    "strangle_cutover",
    "strangle_decommission",
]
#: Tests run as root, who may write everywhere but below a file.
NOWHERE = "/dev/null/x"
PHASES = ["monolith_only", "dual_write", "backfill", "verify", "switch_reads", "cutover", "decommission"]


@contextmanager
def writing(pair: Pair) -> Iterator[None]:
    stop = threading.Event()
    writers = [threading.Thread(target=_patient, args=(pair, seed, stop)) for seed in (11, 12)]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def _patient(pair: Pair, seed: int, stop: threading.Event) -> None:
    """Write until told to stop; a refusal by the fence is an answer, not an error."""
    while not stop.is_set():
        try:
            write_at_random(pair, seed, stop, patience=30)
        except psycopg.errors.OperationalError as error:
            assert error.sqlstate in {"40S01", "40P01"}, error  # noqa: PT017
            stop.wait(0.02)


@pytest.mark.thorough
@pytest.mark.parametrize("step", [pytest.param(step, id=PHASES[step]) for step in range(1, 6)])
def test_a_phase_is_started_rolled_back_and_started_again_under_writes(road: Road, step: int) -> None:
    with writing(road.pair):
        road.go(*ROAD[: step - 1])
        road.go(ROAD[step - 1])
        assert phase_of("orders") == PHASES[step]
        road.run("strangle_rollback")
        assert phase_of("orders") == PHASES[step - 1]
        road.go(*(["strangle_verify"] if step > 3 else []), ROAD[step - 1])
        assert phase_of("orders") == PHASES[step]
    if step > 1:
        assert road.settled() == []


def test_the_whole_road_and_back_to_the_start_loses_nothing(road: Road, tmp_path: Path) -> None:
    heard: list[tuple[str, str, str]] = []

    def observe(sender: Any, context: str, before: Any, after: Any, actor: str, **_: Any) -> None:
        heard.append((context, before.value, after.value))
        raise RuntimeError("an observer that fails stops nothing")

    phase_changed.connect(observe)
    with writing(road.pair):
        road.go(*ROAD[:5])
    phase_changed.disconnect(observe)
    assert heard == [("orders", before, after) for before, after in pairwise(PHASES[:6])]
    road.stage.orders.execute(
        "UPDATE sales_order SET remark = 'written on the new side', modified_at = clock_timestamp() WHERE id < 50"
    )
    road.stage.orders.execute(
        "INSERT INTO sales_order (public_id, customer_id, customer_name, state, total_cents, "
        "currency, reference, "
        "ship_to, ordered_at, modified_at) SELECT gen_random_uuid(), 1, 'x', 'placed', 500, "
        "'EUR', 'new', '{}', now(), now() "
        "FROM generate_series(1, 20)"
    )
    road.run("strangle_rollback")
    assert road.settled() == []
    assert road.stage.shop.execute("SELECT count(*) FROM orders_order WHERE client_reference = 'new'").fetchone() == (
        20,
    )
    assert (
        road.stage.shop.execute("SELECT count(*) FROM orders_order WHERE note = 'written on the new side'").fetchone()[
            0
        ]
        > 20
    )
    road.go("strangle_verify", "strangle_cutover")
    refuses_a_dump_that_cannot_be_written(road, tmp_path)
    road.run("strangle_decommission", "--directory", str(tmp_path / "dump"))
    assert road.stage.shop.execute("SELECT to_regclass('public.orders_order')").fetchone() == (None,)
    road.stage.orders.execute("UPDATE sales_order SET remark = 'after the end' WHERE id < 10")
    road.run("strangle_rollback")
    assert road.stage.shop.execute("SELECT count(*) FROM orders_order WHERE note = 'after the end'").fetchone()[0] > 5
    road.go("strangle_rollback", "strangle_rollback", "strangle_rollback", "strangle_rollback")
    road.go("strangle_rollback")
    assert phase_of("orders") == "monolith_only"
    assert road.stage.orders.execute("SELECT count(*) FROM sales_order").fetchone() == (0,)
    moves = JournalEntry.objects.filter(context="orders").values_list("move", "step")
    assert ("to cutover", "handed_over") in moves
    assert ("undo cutover", "handed_over") in moves
    assert said_by("strangle_report", "audit") == "audit of orders: the record holds together"
    assert said_by("strangle_report", "cutover").startswith("hand-overs of orders: 4 hand-overs, writers held ")


def refuses_a_dump_that_cannot_be_written(road: Road, tmp_path: Path) -> None:
    """Before the move where that can be seen, and in the middle of it with the tables where they were."""
    refused = road.refused("strangle_decommission", "--directory", f"{NOWHERE}/dump")
    assert (refused.returncode, read_context("orders").move) == (4, None)
    assert "because /dev/null is no directory; name another place with --directory" in str(refused)
    (tmp_path / "full" / "orders_order.copy").mkdir(parents=True)
    failed = road.refused("strangle_decommission", "--directory", str(tmp_path / "full"))
    assert failed.returncode == 1
    assert "full: Is a directory; no table was moved: make room, or name another place" in str(failed)
    assert road.stage.shop.execute("SELECT count(*) > 0 FROM public.orders_order").fetchone() == (True,)


def test_a_result_outlives_a_report_that_cannot_be_written(road: Road) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("strangle_verify", "orders", "--directory", NOWHERE, "--format", "json", stdout=out)
    told = json.loads(out.getvalue())
    assert (told["exit_code"], told["phase_after"], caught.value.returncode) == (1, "verify", 1)
    assert (told["evidence"]["differences"], told["evidence"]["report"]) == (0, None)
    for part in ("rows compared", "equal", NOWHERE, "strangle_report verify orders", "--directory"):
        assert part in told["error"], told["error"]
    assert said_by("strangle_report", "verify").startswith("verification of orders")
    with road.stage.orders.transaction():
        road.stage.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        road.stage.orders.execute("UPDATE sales_order SET total_cents = total_cents + 1 WHERE id = 3")
    assert road.refused("strangle_verify", "--directory", NOWHERE).returncode == 3
    with pytest.raises(CommandError, match="name another file with --output") as unwritten:
        call_command("strangle_report", "verify", "orders", output=Path(NOWHERE))
    assert unwritten.value.returncode == 1


def test_after_the_cutover_the_monolith_is_refused_and_the_service_is_not(road: Road) -> None:
    road.go(*ROAD[:5])
    with (
        road.pair.connect("shop", "shop_app") as shop,
        pytest.raises(psycopg.errors.OperationalError, match="not owned here"),
    ):
        shop.execute("UPDATE orders_order SET note = 'x' WHERE id = 1")
    with road.pair.connect("orders", "orders_app") as orders:
        orders.execute("UPDATE sales_order SET remark = 'x' WHERE id = 1")


def test_a_move_out_of_order_is_refused_and_says_what_is_next(road: Road) -> None:
    error = road.refused("strangle_cutover")
    assert error.returncode == 4
    assert "the next step is strangle_dual_write orders" in str(error)


def test_a_target_that_is_not_empty_is_refused_with_the_remedy(road: Road) -> None:
    road.stage.orders.execute(
        "INSERT INTO sales_product (id, sku, name, price_cents, currency, active) VALUES (1, 'a', 'b', 1, 'EUR', true)"
    )
    error = road.refused("strangle_dual_write")
    assert error.returncode == 4
    assert "'sales_product' is not empty" in str(error)
    assert phase_of("orders") == "monolith_only"


def test_two_operators_cannot_move_one_context(road: Road) -> None:
    from migration_tools.phases.machine import operating
    from migration_tools.stores.postgres import connect

    with connect("default", "somebody else") as other, operating(other, "orders"):
        error = road.refused("strangle_dual_write")
    assert error.returncode == 5
    assert "somebody else" in str(error)


def test_a_gate_that_is_not_met_changes_nothing(road: Road) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    error = road.refused("strangle_switch_reads")
    assert error.returncode == 4
    assert phase_of("orders") == "backfill"


def test_a_dry_run_tells_the_plan_and_touches_nothing(road: Road) -> None:
    result = road.run("strangle_dual_write", "--dry-run")
    assert any("put triggers on 'orders_order'" in sentence for sentence in result["plan"])
    assert phase_of("orders") == "monolith_only"
    assert road.stage.shop.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'strangle%'").fetchone() == (0,)


def test_the_plan_of_a_cutover_names_locks_of_the_code_that_protect_nothing_any_more(road: Road) -> None:
    road.walk_to("switch_reads")
    plan = road.run("strangle_cutover", "--dry-run")["plan"]
    (sentence,) = [each for each in plan if each.startswith("Locks that the monolith's code takes")]
    assert "legacy_monolith/orders/transitions.py:" in sentence
    assert "select_for_update" in sentence
    assert "migration_tools" not in sentence


def test_verification_finds_what_was_planted_and_repair_mends_it(road: Road) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    plants = [
        "DELETE FROM sales_orderitem WHERE id = 5",
        "UPDATE sales_order SET total_cents = total_cents + 1 WHERE id = 3",
        "UPDATE sales_order SET remark = '' WHERE remark IS NULL AND id = 4",
        "UPDATE sales_order SET ship_to = '{\"b\": [1, 2]}' WHERE id = 6",
        "UPDATE sales_order SET ordered_at = ordered_at + interval '1 microsecond' WHERE id = 8",
        "INSERT INTO sales_product (id, sku, name, price_cents, currency, active) VALUES (777, 'ghost', 'g', 1, "
        "'EUR', true)",
    ]
    with road.stage.orders.transaction():
        road.stage.orders.execute("SELECT set_config('strangle.applying', 'row', true)")
        for statement in plants:
            assert road.stage.orders.execute(statement).rowcount == 1, statement
    error = road.refused("strangle_verify")
    assert error.returncode == 3
    assert f"{len(plants)} differences" in str(error)
    with writing(road.pair):
        mended = road.run("strangle_verify", "--repair")
    assert mended["evidence"]["differences"] == 0
    # A live write may have mended one by itself before the repair came to it.
    assert len(plants) - 2 <= mended["evidence"]["repaired"] <= len(plants)
    assert road.settled() == []


def test_an_older_snapshot_does_not_pass_the_fence(road: Road) -> None:
    """A REPEATABLE READ transaction begun before the cutover must not write after it."""
    road.go(*ROAD[:4])
    with road.pair.connect("shop", "shop_app") as old:
        old.autocommit = False
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT count(*) FROM orders_order")
        road.run("strangle_cutover")
        with pytest.raises(psycopg.errors.OperationalError) as caught:
            old.execute("UPDATE orders_order SET note = 'late' WHERE id = 1")
        assert caught.value.sqlstate == "40S01"
        old.rollback()


@pytest.mark.parametrize("setting", [{"PLAYBOOKS": ["playbooks.orders"], "LOCK_TIMEOUT": 1}])
def test_an_unknown_setting_is_refused_with_the_nearest_name(setting: dict[str, Any]) -> None:
    from migration_tools.conf import settings
    from migration_tools.errors import SettingsError

    with (
        override_settings(MIGRATION_TOOLS=setting),
        pytest.raises(SettingsError, match="LOCK_TIMEOUT_SECONDS"),
    ):
        settings()


__all__ = ["ORDERS_SOURCE", "ORDERS_TARGET"]
