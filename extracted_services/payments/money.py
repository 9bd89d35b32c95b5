"""The domain logic of payments: authorise once, capture and refund forward only, and enter it in the account."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.utils import timezone

from migration_tools.service.money import whole_cents

from . import events, ledger
from .models import Payment, Status

# Which statuses each step may start from.
LEGAL_FROM = {
    Status.CAPTURED: (Status.AUTHORISED,),
    Status.REFUNDED: (Status.AUTHORISED, Status.CAPTURED),
}
STEPS = {"capture": Status.CAPTURED, "refund": Status.REFUNDED}


def settle(step: Mapping[str, Any]) -> bool:
    """Take one step of an order's payment, as `payment.due` describes it; False when it was taken before, by whomever.

    Call inside `atomic()`: two who settle one order wait for each other, and the second looks only then.
    """
    number = int(step["order_id"])
    _lock(number)
    if step["step"] == "authorise":
        return _authorise(number, step)
    wanted = STEPS[step["step"]]
    payment = Payment.objects.select_for_update(no_key=True).filter(order_number=number).order_by("id").first()
    if payment is None or payment.status not in LEGAL_FROM[wanted]:
        return False
    due = ledger.amount(payment.amount_cents)
    if wanted == Status.CAPTURED:
        ledger.enter(payment.payer_id, lambda account: account.capture(number, due))
    elif payment.status == Status.CAPTURED:
        ledger.enter(payment.payer_id, lambda account: account.refund(number, due))
    payment.status, payment.changed_at = wanted, timezone.now()
    payment.save(update_fields=["status", "changed_at"])
    events.payment_moved(payment)
    return True


def take(number: int, public_id: uuid.UUID, payer: int, cents: int) -> None:
    """Capture what a checkout costs before there is an order, if the payer may pay that much; call inside `atomic()`.

    The events of the order that follow find the payment and change nothing.

    Raises:
        OverLimit: they may not; nothing was taken.
    """
    _lock(number)
    ledger.enter(payer, lambda account: account.capture_within_limit(number, ledger.amount(cents)))
    now = timezone.now()
    payment = Payment.objects.create(
        order_number=number,
        order_public_id=public_id,
        payer_id=payer,
        amount_cents=cents,
        status=Status.CAPTURED,
        authorised_at=now,
        changed_at=now,
    )
    events.payment_moved(payment)


def _lock(number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('billing_payment', %s))", [number])


def _authorise(number: int, step: Mapping[str, Any]) -> bool:
    if Payment.objects.filter(order_number=number).exists():
        return False
    now = timezone.now()
    payment = Payment.objects.create(
        order_number=number,
        order_public_id=step.get("public_id"),
        payer_id=step.get("user_id"),
        amount_cents=whole_cents(step["amount"]),
        authorised_at=now,
        changed_at=now,
    )
    events.payment_moved(payment)
    return True
