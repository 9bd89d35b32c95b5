"""The life of an order's payment: authorise, capture, refund."""

from __future__ import annotations

from decimal import Decimal

from django.utils import timezone

from legacy_monolith.payments.models import Payment


def authorise(order_id: int, amount: Decimal) -> Payment:
    return Payment.objects.create(order_id=order_id, amount=amount)


def capture(order_id: int) -> None:
    _move(order_id, Payment.Status.CAPTURED)


def refund(order_id: int) -> None:
    _move(order_id, Payment.Status.REFUNDED)


def _move(order_id: int, status: Payment.Status) -> None:
    Payment.objects.filter(order_id=order_id).update(status=status, updated_at=timezone.now())
