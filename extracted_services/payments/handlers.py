"""What payments do when orders move, whoever owns them at that moment.

Note [one order, one payment]. As with the stock of the inventory service, two roads lead here while the context moves:
what the monolith hears of and hands on as `payment.due`, and what the group `money` hears from the orders service
itself and leaves alone while the monolith owns the payments. Each road is complete and in order by itself. A payment is
authorised where there is none, and goes forward only, so whoever comes second changes nothing.
"""

from typing import Any

from migration_tools.capture.ownership import owned_here
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles

from . import events, money

CONTEXT = "payments"


@handles("order.placed", stream="orders", group="money")
def authorise(envelope: Envelope) -> None:
    """Authorise what an order costs."""
    payload = envelope.payload
    _if_ours(
        {
            "order_id": payload["order_id"],
            "step": "authorise",
            "amount": payload["total"],
            "public_id": payload["public_id"],
            "user_id": payload["user_id"],
        }
    )


@handles("order.paid", stream="orders", group="money")
def capture(envelope: Envelope) -> None:
    """Capture the payment of an order."""
    _if_ours({"order_id": envelope.payload["order_id"], "step": "capture"})


@handles("order.cancelled", stream="orders", group="money")
def refund(envelope: Envelope) -> None:
    """Give the money of an order back."""
    _if_ours({"order_id": envelope.payload["order_id"], "step": "refund"})


@handles("payment.due", stream="payments")
def settle_or_hand_back(envelope: Envelope) -> None:
    """Do what the monolith could not, or hand it back when the monolith owns the payments again."""
    if owned_here(CONTEXT):
        money.settle(envelope.payload)
    else:
        events.payment_due(envelope.payload)


def _if_ours(step: dict[str, Any]) -> None:
    if owned_here(CONTEXT):
        money.settle(step)
