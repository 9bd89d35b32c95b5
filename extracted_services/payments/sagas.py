"""What payments do for a checkout: take its money, within the payer's limit, and give it back."""

import uuid

from migration_tools.capture.ownership import owned_here
from migration_tools.sagas.choreography import reacts
from migration_tools.sagas.definition import Rejected
from migration_tools.sagas.participant import Command, compensates, performs

from . import money
from .aggregates import OverLimit

CONTEXT = "payments"
GROUP = "checkout"


@performs("payments.take", stream="orders", replies="payments", group=GROUP)
@reacts(
    "stock.reserved",
    stream="inventory",
    saga="checkout_by_events",
    step="pay",
    emits="payment.taken",
    fails="payment.refused",
    publishes_on="payments",
    group=GROUP,
)
def take(command: Command) -> None:
    """Capture what the checkout costs, unless the payer may not pay that much."""
    if not owned_here(CONTEXT):
        raise Rejected("payments_are_the_monoliths")
    said = command.data
    try:
        money.take(int(said["order"]), uuid.UUID(command.saga_id), int(said["customer"]), int(said["cents"]))
    except OverLimit as refusal:
        raise Rejected("over_limit") from refusal


@compensates("payments.refund", stream="orders", replies="payments", group=GROUP)
@reacts(
    "checkout.unconfirmed",
    stream="orders",
    saga="checkout_by_events",
    undoes="pay",
    emits="payment.given_back",
    publishes_on="payments",
    group=GROUP,
)
def give_back(command: Command) -> None:
    """Refund the checkout's payment."""
    money.settle({"order_id": command.data["order"], "step": "refund"})
