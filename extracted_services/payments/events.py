"""The domain events the service publishes, each inside the transaction that makes it true."""

from collections.abc import Mapping
from typing import Any

from migration_tools.messaging import outbox
from migration_tools.service.money import decimal_string

from .models import Payment


def payment_due(payload: Mapping[str, Any]) -> None:
    """Hand a step of a payment to the side that owns it."""
    _publish("payment.due", payload["order_id"], payload)


def payment_moved(payment: Payment) -> None:
    """Tell where an order's payment is now."""
    payload = {
        "order_id": payment.order_number,
        "status": str(payment.status),
        "amount": decimal_string(payment.amount_cents),
    }
    _publish("payment.moved", payment.order_number, payload)


def _publish(event_type: str, order_number: int, payload: Mapping[str, Any]) -> None:
    outbox.publish(event_type, aggregate_type="order", aggregate_id=order_number, payload=payload, stream="payments")
