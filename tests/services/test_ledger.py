"""The payments' ledger: accounts kept as events, equal to the payments whatever happens, as of any moment."""

import datetime as dt
import json
import random
import subprocess
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from extracted_services.payments.aggregates import Account, OverLimit
from tests.races.scene import until
from tests.services import rig
from tests.services.rig import RunningService

pytest_plugins = ["tests.services.rig"]

Get = Callable[[str], RunningService]

SETTLE = """
import json, sys
from django.db import transaction
from extracted_services.payments import money
from extracted_services.payments.aggregates import OverLimit
for step in json.loads({steps!r}):
    try:
        with transaction.atomic():
            if step["step"] == "take":
                money.take(step["order_id"], step["public_id"], step["user_id"], int(step["cents"]))
            else:
                money.settle(step)
    except OverLimit:
        pass
"""
TABLE = """SELECT payer_id, sum(amount_cents) FILTER (WHERE status = 'captured') FROM billing_payment
    WHERE payer_id = ANY (%s) GROUP BY 1"""


def settle(service: RunningService, steps: list[dict[str, Any]]) -> None:
    done = service.manage("shell", "-v0", "-c", SETTLE.format(steps=json.dumps(steps)))
    assert done.returncode == 0, done.stderr


def order(number: int, payer: int, amount: str, *steps: str) -> list[dict[str, Any]]:
    """The steps of an order's payment, as the events of the order say them."""
    first = {"order_id": number, "step": "authorise", "amount": amount, "user_id": payer}
    further = [{"order_id": number, "step": step} for step in steps]
    return [{**first, "public_id": str(uuid.UUID(int=number))}, *further]


def account(service: RunningService, payer: int, **asked: str) -> dict[str, Any]:
    with service.browser(payer) as browser:
        said = browser.get("/api/payments/account/", params=asked)
    assert said.status_code == 200, said.text
    found: dict[str, Any] = said.json()
    return found


def test_the_sum_of_the_seeds_is_1300_and_a_limit_is_kept_by_the_account_itself() -> None:
    made = Account(payer=7)
    made.capture(1, Decimal(1000))
    made.refund(1, Decimal(200))
    made.limit(Decimal("1300.00"))
    made.capture_within_limit(2, Decimal(500))
    assert made.balance == 1300
    with pytest.raises(OverLimit):
        made.capture_within_limit(3, Decimal("0.01"))
    assert (made.balance, made.version, made.id) == (1300, 5, Account.create_id(7))


def test_an_account_is_what_happened_to_the_payments_now_and_as_of_then(running: Get) -> None:
    service = running("payments")
    assert account(service, 31_300) == {"balance": "0.00", "limit": None, "version": 0}
    settle(service, order(313_001, 31_300, "1000.00", "capture") + order(313_002, 31_300, "200.00", "capture"))
    (then,) = service.rows("SELECT max(recorded_at) FROM strangle_event")[0]
    settle(service, order(313_002, 31_300, "200.00", "refund", "refund") + order(313_003, 31_300, "300.00", "capture"))
    assert account(service, 31_300)["balance"] == "1300.00"
    assert account(service, 31_300, as_of=then.isoformat())["balance"] == "1200.00"
    early = then - dt.timedelta(days=1)
    assert account(service, 31_300, as_of=early.isoformat()) == {"balance": "0.00", "limit": None, "version": 0}
    with service.browser(31_300) as browser:
        assert browser.get("/api/payments/account/", params={"as_of": "yesterday"}).status_code == 400
        assert browser.put("/api/payments/accounts/31300/limit/", json={"limit": "1.00"}).status_code == 403
    published = "SELECT event_type FROM strangle_outbox WHERE aggregate_id = %s ORDER BY seq"
    entries = [kind for (kind,) in service.rows(published, str(Account.create_id(31_300)))]
    captured = "payer_account.captured"
    assert entries == ["payer_account.opened", captured, captured, "payer_account.refunded", captured]


@pytest.mark.thorough
def test_snapshots_come_and_go_and_the_balance_stays(running: Get) -> None:
    service = running("payments")
    steps = [
        step for n in range(80) for step in order(314_000 + n, 31_400, "1.00", "capture", "refund" if n % 2 else "")
    ]
    settle(service, [step for step in steps if step["step"]])
    taken = "from django.core.management import call_command; call_command('strangle_event_store', 'snapshots', '{}')"
    assert service.manage("shell", "-v0", "-c", taken.format("payer_account")).returncode == 0
    assert service.rows(
        "SELECT count(*) FROM strangle_snapshot WHERE aggregate_id = %s", Account.create_id(31_400)
    ) == [(1,)]
    assert account(service, 31_400) == {"balance": "40.00", "limit": None, "version": 121}
    service.rows("DELETE FROM strangle_snapshot")
    assert account(service, 31_400) == {"balance": "40.00", "limit": None, "version": 121}


def test_after_any_business_the_ledger_says_what_the_payments_say(running: Get) -> None:
    """Steps of every kind in any order, repeated, refused by limits, for payers known and not; nothing is carried."""
    service = running("payments")
    dice = random.Random(31_500)
    payers = [31_500, 31_501, 31_502]
    with service.browser(1, staff=True) as staff:
        assert staff.put("/api/payments/accounts/31502/limit/", json={"limit": "40.00"}).status_code == 200
    steps: list[dict[str, Any]] = []
    for number in range(315_000, 315_080):
        amount, payer = f"{dice.randint(1, 3000) / 100:.2f}", dice.choice(payers)
        if payer != 31_502:
            steps += order(number, payer, amount, *dice.choices(["capture", "refund"], k=dice.randint(0, 4)))
        taken = {"order_id": number + 1000, "step": "take", "user_id": payer, "cents": dice.randint(1, 3000)}
        steps.append({**taken, "public_id": str(uuid.UUID(int=number + 1000))})
        if dice.random() < 0.4:
            steps.append({"order_id": number + 1000, "step": "refund"})
    settle(service, steps)
    table = {payer: cents or 0 for payer, cents in service.rows(TABLE, payers)}
    assert min(table.values()) > 0
    assert table[31_502] <= 4000 < sum(step.get("cents", 0) for step in steps if step.get("user_id") == 31_502)
    assert {payer: Decimal(account(service, payer)["balance"]) * 100 for payer in payers} == table
    carried = (
        "SELECT count(*) FROM strangle_event WHERE event_type = 'payer_account.carried' AND aggregate_id = ANY (%s)"
    )
    assert service.rows(carried, [Account.create_id(payer) for payer in payers]) == [(0,)]


@pytest.mark.thorough
def test_snapshots_are_taken_in_the_background_also_after_the_database_was_away(running: Get) -> None:
    service = running("payments")
    argv = [sys.executable, "manage.py", "strangle_event_store", "snapshots", "payer_account", "--every", "0.1"]
    env = rig.environment("payments", service.database, "owner")
    many = [step for n in range(100) for step in order(316_000 + n, 31_600 + n % 2, "1.00", "capture", "refund")]

    def taken(payer: int) -> bool:
        query = "SELECT count(*) FROM strangle_snapshot WHERE aggregate_id = %s"
        return service.rows(query, Account.create_id(payer)) == [(1,)]

    with subprocess.Popen(argv, cwd=rig.ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as worker:
        try:
            settle(service, [step for step in many if step["order_id"] % 2 == 0])
            until(lambda: taken(31_600) or worker.poll() is not None, "the first one is taken", 30)
            lost = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND usename = 'payments_owner' AND query ~ 'strangle_snapshot'"""
            until(lambda: service.rows(lost) == [(True,)], "its session has ended", 30)
            settle(service, [step for step in many if step["order_id"] % 2])
            until(lambda: taken(31_601) or worker.poll() is not None, "it goes on", 30)
            assert taken(31_601)
        finally:
            worker.terminate()
        assert worker.wait(30) == 0


@pytest.mark.thorough
def test_what_the_monolith_captured_is_carried_into_the_account_by_the_next_entry(running: Get) -> None:
    service = running("payments")
    service.rows("""INSERT INTO billing_payment
        (order_number, payer_id, amount_cents, status, authorised_at, changed_at)
        VALUES (319001, 31900, 5000, 'captured', now(), now()), (319002, 31900, 700, 'authorised', now(), now())""")
    settle(service, [{"order_id": 319_002, "step": "capture"}, {"order_id": 319_001, "step": "refund"}])
    entries = "SELECT event_type FROM strangle_event WHERE aggregate_id = %s ORDER BY version"
    kinds = [kind for (kind,) in service.rows(entries, Account.create_id(31_900))]
    assert kinds == [
        "payer_account.opened",
        "payer_account.carried",
        "payer_account.captured",
        "payer_account.refunded",
    ]
    assert account(service, 31_900)["balance"] == "7.00"
