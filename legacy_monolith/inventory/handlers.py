"""What the stock does when another service sells: it follows the events of the orders context."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from legacy_monolith.inventory.models import Movement
from legacy_monolith.inventory.stock import settle
from migration_tools.messaging.handlers import handles

if TYPE_CHECKING:
    from migration_tools.messaging.envelope import Envelope


@handles("order.placed", stream="orders", versions=(1, 1))
def take_from_stock(envelope: Envelope) -> None:
    """Take what was sold; the sale has happened, so the stock may go below zero and be reordered."""
    settle(envelope.payload["order_id"], _quantities(envelope.payload), Movement.Reason.ORDERED, heard=True)


@handles("order.cancelled", stream="orders", versions=(1, 1))
def put_back(envelope: Envelope) -> None:
    settle(envelope.payload["order_id"], _quantities(envelope.payload), Movement.Reason.CANCELLED, heard=True)


@handles("stock.due", stream="inventory")
def settle_or_hand_back(envelope: Envelope) -> None:
    """Do what the inventory service no longer could, or hand it back if it owns the stock again."""
    reason = Movement.Reason(envelope.payload["reason"])
    settle(envelope.payload["order_id"], _quantities(envelope.payload), reason, heard=True)


def _quantities(payload: dict[str, Any]) -> Counter[int]:
    quantities: Counter[int] = Counter()
    for line in payload["lines"]:
        quantities[line["product"]] += line["quantity"]
    return quantities
