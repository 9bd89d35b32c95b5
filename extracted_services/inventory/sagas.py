"""What the stock does for a checkout: promise its products, all or none, and release them."""

import uuid

from migration_tools.capture.ownership import owned_here
from migration_tools.sagas.choreography import reacts
from migration_tools.sagas.definition import Rejected
from migration_tools.sagas.participant import Command, compensates, performs

from . import stock
from .handlers import CONTEXT, quantities

GROUP = "checkout"
BY_EVENTS = "checkout_by_events"


@performs("inventory.reserve", stream="orders", replies="inventory", group=GROUP)
@reacts(
    "checkout.opened",
    stream="orders",
    saga=BY_EVENTS,
    step="reserve",
    emits="stock.reserved",
    fails="stock.refused",
    publishes_on="inventory",
    group=GROUP,
)
def reserve(command: Command) -> None:
    """Promise the checkout's products to its order."""
    if not owned_here(CONTEXT):
        raise Rejected("the_stock_is_the_monoliths")
    try:
        stock.keeper().reserve_for_order(
            uuid.UUID(command.saga_id), int(command.data["customer"]), quantities(dict(command.data))
        )
    except stock.TooFew as refusal:
        raise Rejected("out_of_stock") from refusal


@compensates("inventory.release", stream="orders", replies="inventory", group=GROUP)
@reacts(
    "payment.refused", stream="payments", saga=BY_EVENTS, undoes="reserve", emits="stock.released",
    publishes_on="inventory", group=GROUP,
)  # fmt: skip
@reacts(
    "payment.given_back", stream="payments", saga=BY_EVENTS, undoes="reserve", emits="stock.released",
    publishes_on="inventory", group=GROUP,
)  # fmt: skip
def release(command: Command) -> None:
    """Take the promise back."""
    stock.keeper().release_of_order(uuid.UUID(command.saga_id))
