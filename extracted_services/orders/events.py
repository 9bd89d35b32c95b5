"""The domain events the service publishes, each inside the transaction that makes it true."""

from collections.abc import Iterable
from typing import Any

from migration_tools.messaging import outbox
from migration_tools.service.money import decimal_string

from .models import Order, OrderItem, State


def order_placed(order: Order, items: Iterable[OrderItem]) -> None:
    """Publish `order.placed`; the monolith takes the stock and authorises the payment."""
    _publish(
        "order.placed",
        order,
        user_id=order.customer_id,
        total=decimal_string(order.total_cents),
        currency=order.currency,
        lines=_lines(items),
    )


def facts(order: Order) -> dict[str, Any]:
    """All that others keep of an order, as it is now: `order.recorded`."""
    return {
        "order_id": order.pk,
        "public_id": str(order.public_id),
        "user_id": order.customer_id,
        "total": decimal_string(order.total_cents),
        "currency": order.currency,
        "status": order.state,
        "placed_at": order.ordered_at.isoformat(),
        "lines": _lines(sorted(order.items.all(), key=lambda item: item.pk)),
    }


def order_moved(order: Order) -> None:
    """Publish the event named after the state that `order` has just reached."""
    match State(order.state):
        case State.PAID:
            _publish("order.paid", order, amount=decimal_string(order.total_cents))
        case State.SHIPPED:
            _publish("order.shipped", order)
        case State.CANCELLED:
            _publish("order.cancelled", order, lines=_lines(order.items.order_by("id")))
        case State.PLACED:
            raise ValueError(f"{order} has not moved; publish order_placed with its items")


def _lines(items: Iterable[OrderItem]) -> list[dict[str, int]]:
    return [{"product": item.product_id, "quantity": item.qty} for item in items]


def _publish(event_type: str, order: Order, **details: Any) -> None:
    public_id = str(order.public_id)
    outbox.publish(
        event_type,
        aggregate_type="order",
        aggregate_id=public_id,
        payload={"order_id": order.pk, "public_id": public_id, **details},
        stream="orders",
    )
