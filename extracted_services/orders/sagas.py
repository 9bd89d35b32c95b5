"""A checkout as a saga over three services, with a conductor and by events alone; a setting says which is used.

create (a number for the order) → reserve (inventory) → pay (payments) → confirm (the order is made).
"""

import uuid

from django.conf import settings
from django.db import transaction

from migration_tools.sagas.choreography import originate, originates, reacts
from migration_tools.sagas.declaring import declare
from migration_tools.sagas.definition import LocalStep, Saga, Step
from migration_tools.sagas.orchestrator import start
from migration_tools.sagas.participant import Command

from . import checkout
from .models import Checkout
from .purchase import Purchase

STREAM, INVENTORY, PAYMENTS = "orders", "inventory", "payments"
GROUP = "checkout"
BY_EVENTS = "checkout_by_events"


def buy(purchase: Purchase) -> Checkout:
    """Open a checkout and begin its saga, in one transaction of its own.

    Raises:
        PurchaseRefused: the purchase cannot be made as asked.
        IntakeClosed: the orders are being handed over; try again in a moment.
    """
    public_id = uuid.uuid4()
    with transaction.atomic():
        made = checkout.open_(purchase, public_id)
        if settings.CHECKOUT == "orchestrated":
            start(CHECKOUT, {}, aggregate=("order", public_id), saga_id=public_id)
        else:
            originate(OPENED, saga_id=public_id, payload=checkout.number(str(public_id)), aggregate_type="order")
    return made


def _create(step: LocalStep) -> dict[str, object]:
    return checkout.number(step.saga_id)


def _cancel(step: LocalStep) -> None:
    checkout.cancel(step.saga_id)


def _confirm(step: LocalStep) -> None:
    checkout.confirm(step.saga_id)


CHECKOUT = declare(
    Saga(
        "checkout",
        stream=STREAM,
        group=GROUP,
        steps=(
            Step("create", local=_create, undo=_cancel),
            Step(
                "reserve",
                command="inventory.reserve",
                compensation="inventory.release",
                replies=INVENTORY,
                sends=("customer", "lines"),
            ),
            Step(
                "pay",
                command="payments.take",
                compensation="payments.refund",
                replies=PAYMENTS,
                sends=("customer", "order", "cents"),
            ),
            Step("confirm", local=_confirm),
        ),
    )
)

# The same by events alone.

OPENED = originates("checkout.opened", saga=BY_EVENTS, step="create", stream=STREAM)


@reacts(
    "payment.taken",
    stream=PAYMENTS,
    saga=BY_EVENTS,
    step="confirm",
    emits="checkout.confirmed",
    fails="checkout.unconfirmed",
    publishes_on=STREAM,
    group=GROUP,
)
def confirm_by_events(command: Command) -> None:
    """Make the order."""
    checkout.confirm(command.saga_id)


@reacts(
    "stock.refused", stream=INVENTORY, saga=BY_EVENTS, undoes="create", emits="checkout.cancelled",
    publishes_on=STREAM, group=GROUP,
)  # fmt: skip
@reacts(
    "stock.released", stream=INVENTORY, saga=BY_EVENTS, undoes="create", emits="checkout.cancelled",
    publishes_on=STREAM, group=GROUP,
)  # fmt: skip
def cancel_by_events(command: Command) -> None:
    """End a checkout of which nothing is left to undo elsewhere."""
    checkout.cancel(command.saga_id)
