"""The domain events of orders, published in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from legacy_monolith.orders.models import Order, OrderLine
from migration_tools.messaging.outbox import publish


def order_placed(order: Order, lines: Sequence[OrderLine]) -> None:
    facts = {"user_id": order.user_id, "total": str(order.total), "currency": order.currency}
    _publish("order.placed", order, facts | {"lines": _lines(lines)})


def facts(order: Order) -> dict[str, Any]:
    """All that others keep of an order, as it is now: `order.recorded`."""
    return {
        "order_id": order.pk,
        "public_id": str(order.public_id),
        "user_id": order.user_id,
        "total": str(order.total),
        "currency": order.currency,
        "status": order.status,
        "placed_at": order.placed_at.isoformat(),
        "lines": _lines(sorted(order.lines.all(), key=lambda line: line.pk)),
    }


def order_paid(order: Order) -> None:
    _publish("order.paid", order, {"amount": str(order.total)})


def order_shipped(order: Order) -> None:
    _publish("order.shipped", order, {})


def order_cancelled(order: Order, lines: Sequence[OrderLine]) -> None:
    _publish("order.cancelled", order, {"lines": _lines(lines)})


def _publish(event_type: str, order: Order, facts: dict[str, Any]) -> None:
    public_id = str(order.public_id)
    payload = {"order_id": order.pk, "public_id": public_id, **facts}
    publish(event_type, aggregate_type="order", aggregate_id=public_id, payload=payload, stream="orders")


def _lines(lines: Sequence[OrderLine]) -> list[dict[str, int]]:
    return [{"product": line.product_id, "quantity": line.quantity} for line in lines]
