"""What the stock does when somebody sells, whoever owns it at that moment.

Note [one sale, one movement]. While the context moves, two roads lead from a sale to the stock, and each of them alone
is complete. The monolith hears of every sale, and hands what it does not own to this service as `stock.due`, in the
transaction in which it heard of it; what this service does not own either (any more) it hands back, the same way.
And the group `stock` hears of sales from the orders service itself. It leaves them alone while the monolith owns the
stock, since that road is the monolith's then, and is the only one left when the monolith is gone. Whoever comes second
finds the movement, which travels with the stock's own rows, and changes nothing. A hand-over between looking and
writing is refused by the fence, and the event is looked at again.
"""

import uuid
from collections import Counter
from typing import Any

from migration_tools.capture.ownership import owned_here
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles

from . import events, stock
from .models import Reason

CONTEXT = "inventory"


@handles("order.placed", stream="orders", group="stock")
def take_what_was_sold(envelope: Envelope) -> None:
    """Take what was sold; the sale has happened, so the stock may go below zero and be reordered.

    What was reserved for the order is taken out of the reservation, in the same transaction.
    """
    if owned_here(CONTEXT):
        order, number = uuid.UUID(envelope.payload["public_id"]), envelope.payload["order_id"]
        stock.keeper().sell(order, number, quantities(envelope.payload))


@handles("order.cancelled", stream="orders", group="stock")
def put_back(envelope: Envelope) -> None:
    """Put back what will not be delivered."""
    if owned_here(CONTEXT):
        stock.keeper().settle(envelope.payload["order_id"], quantities(envelope.payload), Reason.CANCELLED)


@handles("stock.due", stream="inventory")
def settle_or_hand_back(envelope: Envelope) -> None:
    """Do what the monolith could not, or hand it back when the monolith owns the stock again."""
    order_number, reason = envelope.payload["order_id"], envelope.payload["reason"]
    if owned_here(CONTEXT):
        stock.keeper().settle(order_number, quantities(envelope.payload), Reason(reason))
    else:
        events.stock_due(order_number, quantities(envelope.payload), reason)


def quantities(payload: dict[str, Any]) -> Counter[int]:
    """How many of each product the lines of an event ask for."""
    wanted: Counter[int] = Counter()
    for line in payload["lines"]:
        wanted[line["product"]] += line["quantity"]
    return wanted
