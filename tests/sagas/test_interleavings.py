"""Two deliveries at once, the seed's check-then-act beside ours, and messages that come late, early or never."""

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction

from migration_tools.errors import IntakeClosed, PastPivot, SagaError
from migration_tools.kernel import points
from migration_tools.messaging.envelope import Envelope
from migration_tools.sagas import orchestrator, participant
from migration_tools.sagas.decisions import Direction
from migration_tools.sagas.participant import Command, Participant, obey
from migration_tools.sagas.runner import Runner
from tests.races.scene import Background, until
from tests.sagas import services
from tests.sagas.tables import trouble
from tests.sagas.world import World

SECONDS = 20


def command(saga_id: str, word: str, step: str, data: dict[str, Any], **more: Any) -> Envelope:
    """A command as the orchestrator would send it."""
    return Envelope(
        event_id=uuid.uuid4(),
        aggregate_id=saga_id,
        aggregate_type="saga",
        event_type=word,
        event_version=1,
        timestamp=dt.datetime.now(dt.UTC),
        correlation_id=None,
        causation_id=None,
        payload={
            "saga_id": saga_id,
            "saga": "transfer",
            "step": step,
            "direction": "do",
            "attempt": 1,
            "may_refuse": True,
            "data": data,
        }
        | more,
        stream=services.ORDERS,
        origin="orders",
        position=1,
    )


def part(word: str) -> Participant:
    return next(each for each in participant.participants() if each.command == word)


def at_once(world: World, deliver: Callable[[], None], times: int = 2) -> None:
    """Deliver so often at once: the second begins while the first has not committed."""
    reached, go = threading.Barrier(times), threading.Event()
    first = threading.Lock()

    def held() -> None:
        # Whoever comes here first waits until the other one stands at its own claim.
        if first.acquire(blocking=False):
            assert go.wait(SECONDS)

    def delivering() -> None:
        reached.wait(SECONDS)
        with transaction.atomic(using=world.alias("payments")):
            deliver()

    with world.being("payments"), points.on("sagas.claimed", held):
        running = [Background(delivering) for _ in range(times)]
        until(lambda: waiting(world) >= times - 1 or not any(r.running() for r in running), "the other one waits")
        go.set()
        for each in running:
            each.outcome()


def waiting(world: World) -> int:
    """How many sessions of the payments' database wait for another transaction."""
    query = """SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
               AND datname = current_database()"""
    return int(world.one("payments", query))


def test_two_deliveries_at_once_debit_once_and_answer_alike(world: World) -> None:
    a, saga = world.account("payments", 1000), str(uuid.uuid4())
    at_once(
        world, lambda: obey(part("bank_a.debit"), command(saga, "bank_a.debit", "debit_a", {"from": a, "amount": 100}))
    )
    assert world.balance("payments", a) == 900
    answers = world.conns["payments"].execute(
        "SELECT payload->>'outcome', payload->'data' FROM strangle_outbox WHERE aggregate_id = %s", [saga]
    )
    assert answers.fetchall() == [("done", {"debited": 100})] * 2


def test_the_seeds_check_then_act_debits_twice(world: World) -> None:
    """SELECT, then UPDATE, then INSERT, as the seed has it: both see nothing yet, so 800 is left of 1000."""
    a, saga = world.account("payments", 1000), str(uuid.uuid4())
    world.conns["payments"].execute("CREATE TABLE IF NOT EXISTS seed_transactions (saga_id text, operation text)")
    both_have_looked = threading.Barrier(2)

    def debit_account() -> None:
        with transaction.atomic(using=world.alias("payments")), connections[world.alias("payments")].cursor() as cursor:
            cursor.execute("SELECT 1 FROM seed_transactions WHERE saga_id = %s AND operation = 'debit'", [saga])
            if cursor.fetchone():
                return
            both_have_looked.wait(SECONDS)
            cursor.execute("UPDATE shop_account SET balance = balance - 100 WHERE name = %s AND balance >= 100", [a])
            cursor.execute("INSERT INTO seed_transactions VALUES (%s, 'debit')", [saga])

    for each in [Background(debit_account) for _ in range(2)]:
        each.outcome()
    assert world.balance("payments", a) == 800


def test_a_compensation_delivered_twice_at_once_gives_back_once(world: World) -> None:
    a, saga = world.account("payments", 1000), str(uuid.uuid4())
    data = {"from": a, "amount": 100}
    with world.being("payments") as alias, transaction.atomic(using=alias):
        obey(part("bank_a.debit"), command(saga, "bank_a.debit", "debit_a", data))
    undo = command(saga, "bank_a.undo_debit", "debit_a", data, direction="undo", may_refuse=False)
    at_once(world, lambda: obey(part("bank_a.undo_debit"), undo))
    assert world.balance("payments", a) == 1000


def test_a_command_that_comes_after_its_own_compensation_does_nothing(world: World) -> None:
    a, saga = world.account("payments", 1000), str(uuid.uuid4())
    data = {"from": a, "amount": 100}
    with world.being("payments") as alias:
        for word, direction in (("bank_a.undo_debit", "undo"), ("bank_a.debit", "do")):
            with transaction.atomic(using=alias):
                obey(part(word), command(saga, word, "debit_a", data, direction=direction))
    assert world.balance("payments", a) == 1000
    outcomes = world.conns["payments"].execute(
        "SELECT payload->>'outcome' FROM strangle_outbox WHERE aggregate_id = %s ORDER BY seq", [saga]
    )
    assert outcomes.fetchall() == [("done",), ("rejected",)]


def test_undoing_waits_for_the_doing_that_is_under_way_and_then_undoes_it(world: World) -> None:
    a, saga = world.account("payments", 1000), str(uuid.uuid4())
    data = {"from": a, "amount": 100}
    done = threading.Event()

    def under_way() -> None:
        with transaction.atomic(using=world.alias("payments")):
            obey(part("bank_a.debit"), command(saga, "bank_a.debit", "debit_a", data))
            done.set()
            until(lambda: waiting(world) == 1, "the undoing waits")

    def undoing() -> None:
        assert done.wait(SECONDS)
        with transaction.atomic(using=world.alias("payments")):
            obey(part("bank_a.undo_debit"), command(saga, "bank_a.undo_debit", "debit_a", data, direction="undo"))

    with world.being("payments"):
        both = [Background(under_way), Background(undoing)]
        for each in both:
            each.outcome()
    assert world.balance("payments", a) == 1000


def test_a_step_that_does_not_answer_is_asked_again_then_undone_and_its_late_answer_says_nothing(world: World) -> None:
    """The debit is done, but its answer stays away until the saga has turned back."""
    a, b = world.account("payments", 1000), world.account("inventory", 0)
    saga = world.begin(services.SHOP_TRANSFER, {"from": a, "to": b, "amount": 100})
    for attempt in (1, 2, 3):
        world.number("orders")
        world.consume("payments", "orders")
        assert world.balance("payments", a) == 900
        assert world.one("orders", "SELECT attempt FROM saga_state WHERE saga_id = %s", saga) == attempt
        world.expire(saga)
        world.run_due()
    assert world.status(saga) == "compensating"
    world.number("payments")
    world.consume("orders", "payments")
    assert world.status(saga) == "compensating", "three late answers"
    world.settle()
    assert world.status(saga) == "compensated"
    assert (world.balance("payments", a), world.balance("inventory", b)) == (1000, 0)


def test_a_pivot_that_does_not_answer_is_asked_until_it_does_and_somebody_is_told(world: World) -> None:
    a, b = world.account("payments", 1000), world.account("inventory", 0)
    saga = world.begin(services.SHOP_TRANSFER, {"from": a, "to": b, "amount": 100})
    world.settle(until=lambda: world.one("orders", "SELECT current_step FROM saga_state WHERE saga_id = %s", saga) == 1)
    for _ in range(5):
        world.expire(saga)
        world.run_due()
    alarm = world.one("orders", "SELECT alarm FROM saga_state WHERE saga_id = %s", saga)
    assert alarm == "step 'credit_b' was tried 3 times (do): it did not answer"
    with world.being("orders"), pytest.raises(PastPivot, match=r"may have been done.*strangle_sagas retry"):
        orchestrator.compensate(saga, reason="a test")
    world.settle()
    assert world.status(saga) == "completed"
    assert (world.balance("payments", a), world.balance("inventory", b)) == (900, 100)
    assert world.one("orders", "SELECT alarm FROM saga_state WHERE saga_id = %s", saga) == ""


def test_two_runners_wake_a_saga_once(world: World) -> None:
    a, b = world.account("payments", 1000), world.account("inventory", 0)
    saga = world.begin(services.SHOP_TRANSFER, {"from": a, "to": b, "amount": 100})
    world.expire(saga)
    with world.being("orders") as alias:
        together = threading.Barrier(2)

        def look() -> int:
            together.wait(SECONDS)
            return int(orchestrator.wake(saga, using=alias))

        both = [Background(look) for _ in range(2)]
        assert sum(each.outcome() for each in both) == 1
    assert world.one("orders", "SELECT attempt FROM saga_state WHERE saga_id = %s", saga) == 2
    world.settle()


def test_a_saga_begins_exactly_if_its_transaction_commits_and_once_an_id(world: World) -> None:
    made = uuid.uuid4()
    payload = {"from": world.account("payments", 100), "to": world.account("inventory", 0), "amount": 1}
    with world.being("orders") as alias:
        with pytest.raises(SagaError, match="outside a transaction"):
            orchestrator.start(services.SHOP_TRANSFER, payload)
        with transaction.atomic(using=alias):
            orchestrator.start(services.SHOP_TRANSFER, payload, saga_id=made)
            transaction.set_rollback(True, using=alias)
        assert world.one("orders", "SELECT count(*) FROM saga_state WHERE saga_id = %s", made) == 0
        for _ in range(2):
            with transaction.atomic(using=alias):
                orchestrator.start(services.SHOP_TRANSFER, payload, saga_id=made)
    sent = world.one("orders", "SELECT count(*) FROM strangle_outbox WHERE aggregate_id = %s", str(made))
    assert sent == 1
    world.settle()


def test_while_the_intake_is_closed_nothing_begins_and_it_opens_by_itself(world: World) -> None:
    payload = {"from": world.account("payments", 100), "to": world.account("inventory", 0), "amount": 1}
    world.begin(services.SHOP_TRANSFER, payload)
    close = "UPDATE saga_intake SET closed_until = clock_timestamp() + make_interval(secs => %s) WHERE context = %s"
    world.conns["orders"].execute(close, [30, services.ORDERS])
    with pytest.raises(IntakeClosed, match="try again in a moment"):
        world.begin(services.SHOP_TRANSFER, payload)
    world.conns["orders"].execute(close, [-1, services.ORDERS])
    world.begin(services.SHOP_TRANSFER, payload)
    world.settle()


def test_a_saga_whose_definition_is_gone_is_told_of_and_holds_no_other(world: World) -> None:
    a, b = world.account("payments", 1000), world.account("inventory", 0)
    payload = {"from": a, "to": b, "amount": 100}
    lost, other = (world.begin(services.SHOP_TRANSFER, payload) for _ in range(2))
    world.conns["orders"].execute("UPDATE saga_state SET version = 9 WHERE saga_id = %s", [lost])
    for saga in (lost, other):
        world.expire(saga)
    with world.being("orders") as alias:
        assert Runner(using=alias).step() == 1
        assert Runner(using=alias).step() == 0
    assert "version 9 is not declared" in world.one("orders", "SELECT alarm FROM saga_state WHERE saga_id = %s", lost)
    world.conns["orders"].execute("UPDATE saga_state SET version = 1 WHERE saga_id = %s", [lost])
    trouble.clear()
    with world.being("orders"):
        orchestrator.retry(lost)
    world.settle()
    assert (world.status(lost), world.status(other)) == ("completed", "completed")


def test_a_step_answers_what_it_stored_however_often_it_is_asked(world: World) -> None:
    saga = str(uuid.uuid4())
    seen: list[Command] = []

    def count(asked: Command) -> dict[str, int]:
        seen.append(asked)
        return {"number": len(seen)}

    odd = Participant(command="x", direction=Direction.DO, stream="s", replies=services.PAYMENTS, function=count)
    with world.being("payments") as alias:
        for attempt in (1, 2, 3):
            with transaction.atomic(using=alias):
                obey(odd, command(saga, "x", "odd", {}, attempt=attempt))
    told = world.conns["payments"].execute(
        "SELECT payload->'data', payload->'attempt' FROM strangle_outbox WHERE aggregate_id = %s ORDER BY seq", [saga]
    )
    assert told.fetchall() == [({"number": 1}, 1), ({"number": 1}, 2), ({"number": 1}, 3)]
