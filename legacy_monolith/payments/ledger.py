"""The life of an order's payment: authorise, capture, refund, by whoever owns the payments."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from django.utils import timezone

from legacy_monolith.payments.models import Payment
from migration_tools.capture.ownership import owned_here
from migration_tools.messaging.outbox import publish

CONTEXT = "payments"
Status = Payment.Status
# Forward only: what was heard of before the payments changed hands is heard of again after it.
LEGAL_FROM = {Status.CAPTURED: [Status.AUTHORISED], Status.REFUNDED: [Status.AUTHORISED, Status.CAPTURED]}


def authorise(
    order_id: int,
    amount: Decimal,
    *,
    public_id: uuid.UUID | str | None = None,
    user_id: int | None = None,
    heard: bool = False,
) -> None:
    """Authorise what an order costs; with `heard` of it by an event, only if nobody has."""
    if not owned_here(CONTEXT):
        known: dict[str, Any] = {"public_id": public_id and str(public_id), "user_id": user_id}
        _due(order_id, "authorise", amount=str(amount), **known)
    elif not (heard and Payment.objects.filter(order_id=order_id).exists()):
        Payment.objects.create(order_id=order_id, amount=amount, order_public_id=public_id, payer_id=user_id)


def capture(order_id: int) -> None:
    _move(order_id, "capture", Status.CAPTURED)


def refund(order_id: int) -> None:
    _move(order_id, "refund", Status.REFUNDED)


def _move(order_id: int, step: str, status: Payment.Status) -> None:
    if owned_here(CONTEXT):
        open_payments = Payment.objects.filter(order_id=order_id, status__in=LEGAL_FROM[status])
        open_payments.update(status=status, updated_at=timezone.now())
    else:
        _due(order_id, step)


def _due(order_id: int, step: str, **known: Any) -> None:
    """Hand a step to the side that owns the payments."""
    payload = {"order_id": order_id, "step": step, **known}
    publish("payment.due", aggregate_type="order", aggregate_id=order_id, payload=payload, stream=CONTEXT)
