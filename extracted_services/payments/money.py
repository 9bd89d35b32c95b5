"""The domain logic of payments: authorise once, capture and refund forward only."""

from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.utils import timezone

from migration_tools.service.money import whole_cents

from . import events
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
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('billing_payment', %s))", [number])
    if step["step"] == "authorise":
        return _authorise(number, step)
    wanted = STEPS[step["step"]]
    payment = Payment.objects.select_for_update(no_key=True).filter(order_number=number).order_by("id").first()
    if payment is None or payment.status not in LEGAL_FROM[wanted]:
        return False
    payment.status, payment.changed_at = wanted, timezone.now()
    payment.save(update_fields=["status", "changed_at"])
    events.payment_moved(payment)
    return True


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
