"""The domain events the service publishes, each inside the transaction that makes it true."""

from collections.abc import Mapping, Sequence
from typing import Any

from migration_tools.messaging import outbox


def stock_due(order_number: int, quantities: Mapping[int, int], reason: str) -> None:
    """Hand a change of the stock to the side that owns it."""
    _publish("stock.due", order_number, quantities, reason)


def stock_moved(order_number: int, quantities: Mapping[int, int], reason: str, short: Sequence[int]) -> None:
    """Tell that an order's products were taken or put back."""
    _publish("stock.moved", order_number, quantities, reason, short=list(short))


def _publish(event_type: str, order_number: int, quantities: Mapping[int, int], reason: str, **further: Any) -> None:
    lines = [{"product": product, "quantity": quantity} for product, quantity in sorted(quantities.items())]
    outbox.publish(
        event_type,
        aggregate_type="order",
        aggregate_id=order_number,
        payload={"order_id": order_number, "reason": reason, "lines": lines, **further},
        stream="inventory",
    )
