"""A context with an open saga does not change hands: the gate, its intake, waiting for the open ones, pinning them."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from migration_tools.capture.models import Side
from migration_tools.errors import GateNotMet, IntakeClosed
from migration_tools.kernel import points
from migration_tools.phases import gates
from migration_tools.phases.dry_run import DryRunExecutor
from migration_tools.phases.settling import sagas_settled
from migration_tools.phases.status import read_status
from migration_tools.phases.surroundings import Surroundings, surroundings
from migration_tools.playbook.registry import get
from migration_tools.sagas import intake, orchestrator, registry
from migration_tools.sagas.declaring import declare
from migration_tools.sagas.definition import LocalStep, Saga, Step
from tests.integration.test_phases import Road, road
from tests.races.scene import Background, until

__all__ = ["road"]


def note(step: LocalStep) -> None:
    """A step of the context's own: it writes an order."""
    from django.db import connections

    with connections[step.using].cursor() as cursor:
        cursor.execute("UPDATE orders_order SET note = 'by a saga' WHERE id = %s", [step.payload["order"]])


@pytest.fixture
def saga(monkeypatch: pytest.MonkeyPatch) -> Saga:
    """A saga of the monolith's orders: another service is asked, then an order is written here."""
    monkeypatch.setattr(registry, "_declared", {})
    steps = (Step("ask", command="a.ask", compensation="a.unask", replies="a"), Step("note", local=note))
    return declare(Saga("noted", stream="saga_orders", context="orders", steps=steps))


def begin(saga: Saga, order: int = 1) -> str:
    with transaction.atomic():
        return orchestrator.start(saga, {"order": order}, aggregate=("order", order))


def answer(saga_id: str, outcome: str = "done") -> None:
    """The asked service's word, as the consumer would hand it over."""
    from tests.sagas.test_interleavings import command

    said = command(saga_id, "a.ask.answered", "ask", {}, outcome=outcome)
    with transaction.atomic():
        orchestrator.take_answer(type(said)(**{**vars(said), "stream": "a"}))


@pytest.fixture
def env(stage: Any) -> Iterator[Surroundings]:
    """The operator's view of the context, whose source owns it."""
    with surroundings(get("orders"), purpose="test") as made:
        yield made


def blocking(env: Surroundings) -> str:
    return " ".join(gates.no_open_sagas(env))


def test_a_context_with_an_open_saga_is_not_handed_over_and_the_intake_is_open_again(
    env: Surroundings, saga: Saga
) -> None:
    opened = begin(saga)
    told = rf"1 saga of 'orders' is open on the source, the oldest for \d+ s \(noted {opened}\)"
    assert re.search(told, blocking(env))
    with pytest.raises(GateNotMet, match="--drain-sagas SECONDS"), sagas_settled(env, Side.TARGET):
        pytest.fail("the owner would have changed")
    begin(saga)
    [found] = [side["sagas"] for name, side in read_status(env.playbook)["sides"].items() if name == "source"]
    assert (found["count"], found["alarmed"]) == (2, 0)


def test_a_dry_run_tells_what_becomes_of_open_sagas(env: Surroundings, saga: Saga) -> None:
    begin(saga)
    plan = DryRunExecutor(env)
    env.options = {"drain_sagas": 30.0}
    plan.hand_over(Side.TARGET)
    place = plan.plan.index("Let no saga of 'orders' begin.")
    assert plan.plan[place + 1] == "Wait at most 30 s until the open ones (now 1) have ended, or change nothing."
    assert plan.plan[place + 2].startswith("Hold writes")
    env.options = {"pin_sagas": True}
    plan.hand_over(Side.TARGET)
    assert any(line.startswith("Leave the open sagas (now 1)") for line in plan.plan)


def test_while_open_sagas_end_none_begins_and_then_the_owner_may_change(env: Surroundings, saga: Saga) -> None:
    opened = begin(saga)
    env.options = {"drain_sagas": 20.0}
    assert blocking(env) == ""
    closed, changed = threading.Event(), threading.Event()

    def hand_over() -> None:
        with points.on("settling.closed", closed.set), sagas_settled(env, Side.TARGET):
            changed.set()
            with pytest.raises(IntakeClosed):
                begin(saga)

    work = Background(hand_over)
    assert closed.wait(20)
    with pytest.raises(IntakeClosed, match="the context is handed over"):
        begin(saga)
    assert not changed.is_set()
    answer(opened)
    work.outcome()
    assert changed.is_set()
    begin(saga)


def test_whoever_is_beginning_is_waited_for_and_counted(env: Surroundings, saga: Saga) -> None:
    """The interleaving that a count alone would miss: begun before the closing, committed after the count."""
    begun, go = threading.Event(), threading.Event()

    def beginning() -> None:
        with transaction.atomic():
            orchestrator.start(saga, {"order": 1})
            begun.set()
            assert go.wait(20)

    work = Background(beginning)
    assert begun.wait(20)
    assert intake.open_sagas(env.source, "orders").count == 0  # type: ignore[union-attr]
    closing = Background(lambda: enter(env))
    until(lambda: waits(env), "the closing waits for the beginning")
    go.set()
    work.outcome()
    with pytest.raises(GateNotMet, match="1 saga of"):
        closing.outcome()


def enter(env: Surroundings) -> None:
    with sagas_settled(env, Side.TARGET):
        pytest.fail("the owner would have changed")


def waits(env: Surroundings) -> bool:
    row = env.target.execute(
        """SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
             AND query LIKE 'INSERT INTO saga_intake%%' AND datname = %s""",
        [env.source.info.dbname],
    ).fetchone()
    return bool(row and row[0])


def test_pinned_sagas_stay_open_and_are_in_the_evidence(env: Surroundings, saga: Saga) -> None:
    begin(saga)
    env.options = {"pin_sagas": True}
    assert blocking(env) == ""
    with sagas_settled(env, Side.TARGET) as evidence:
        assert evidence == {"pinned_sagas": 1}
    assert "1 saga of 'orders' is open on the source" in " ".join(gates.no_pinned_sagas(env))


def test_a_local_step_that_meets_the_fence_waits_for_the_context_and_holds_nobody_up(
    env: Surroundings, saga: Saga, stage: Any
) -> None:
    from migration_tools.capture.ownership import set_owner

    opened = begin(saga)
    other = begin(saga, order=2)
    set_owner(env.source, "orders", Side.TARGET, 7)
    # The application's role is fenced; the owner of the tables is not.
    with as_the_application():
        answer(opened)
        answer(other)
        rows = stage.shop.execute("SELECT status, reason FROM saga_state ORDER BY created_at").fetchall()
        assert rows == [("running", "note: OperationalError")] * 2
        set_owner(env.source, "orders", Side.SOURCE, 8)
        orchestrator.retry(opened)
    row = stage.shop.execute("SELECT note FROM orders_order WHERE id = 1").fetchone()
    assert row == ("by a saga",)


def as_the_application() -> Any:
    """Django's connection as the monolith's application role, for the block."""
    from contextlib import contextmanager

    from django.db import connections

    @contextmanager
    def block() -> Iterator[None]:
        values = connections["default"].settings_dict
        before = values["USER"]
        connections["default"].close()
        values["USER"] = "shop_app"
        try:
            yield
        finally:
            connections["default"].close()
            values["USER"] = before

    return block()


class Death(BaseException):
    """Ends the operator where kill -9 would: nothing is put back."""


def test_an_operator_who_dies_with_the_intake_closed_leaves_it_to_open_by_itself(
    env: Surroundings, saga: Saga, stage: Any
) -> None:
    opened = begin(saga)
    env.options = {"drain_sagas": 20.0}

    def die() -> None:
        env.source.close()
        env.target.close()
        raise Death

    with points.on("settling.closed", die), pytest.raises(Death), sagas_settled(env, Side.TARGET):
        pytest.fail("the owner would have changed")
    with pytest.raises(IntakeClosed):
        begin(saga)
    left = "SELECT closed_until - clock_timestamp() < interval '120 s' FROM saga_intake WHERE context = 'orders'"
    assert stage.shop.execute(left).fetchone() == (True,)
    stage.shop.execute("UPDATE saga_intake SET closed_until = now()")
    begin(saga)
    stage.shop.execute("UPDATE saga_state SET status = 'completed' WHERE saga_id <> %s", [opened])
    answer(opened)
    with surroundings(get("orders"), purpose="test") as again, sagas_settled(again, Side.TARGET) as evidence:
        assert evidence == {}


@pytest.mark.thorough
def test_a_cutover_waits_for_open_sagas_and_its_rollback_may_leave_them(road: Road, saga: Saga) -> None:
    road.walk_to("switch_reads")
    opened = begin(saga)
    refused = road.refused("strangle_cutover")
    assert refused.returncode == 4
    assert "1 saga of 'orders' is open on the source" in str(refused)
    dry = road.run("strangle_cutover", "--dry-run")
    assert any("--drain-sagas" in text for text in dry["blocking"])
    assert any("1 sagas are open" in line for line in road.run("strangle_status")["lines"])
    work = Background(lambda: road.run("strangle_cutover", "--drain-sagas", "60"))
    query = "SELECT closed_until > clock_timestamp() FROM saga_intake"
    until(lambda: road.stage.shop.execute(query).fetchone() == (True,), "the intake is closed", 60)
    answer(opened)
    assert work.outcome()["exit_code"] == 0
    begin(saga, order=2)
    assert road.refused("strangle_rollback").returncode == 4
    assert road.run("strangle_rollback", "--pin-sagas")["evidence"]["pinned_sagas"] == 1
