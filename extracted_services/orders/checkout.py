"""The domain logic of checkouts: a purchase that is pending until its stock is reserved and its money taken.

Only a confirmed checkout becomes an order, so there is never an order that is not paid for, and none without lines.
"""

import uuid
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from migration_tools.capture.ownership import owned_here
from migration_tools.errors import IntakeClosed
from migration_tools.sagas.definition import Rejected

from . import events
from .models import Checkout, CheckoutState, Order, State
from .purchase import Bought, Line, Purchase, price, record


class TooLate(Exception):
    """The checkout has ended; the message says how."""

    def __init__(self, state: str) -> None:
        super().__init__(f"the checkout is {state}; only one that is pending can be withdrawn")


def open_(purchase: Purchase, public_id: uuid.UUID) -> Checkout:
    """Price a purchase and write it down as pending; call inside `atomic()`, together with what carries it on.

    Raises:
        PurchaseRefused: see `purchase.price`.
        IntakeClosed: somebody else owns the orders.
    """
    if not owned_here("orders"):
        raise IntakeClosed("the orders are not this service's now; buy from whoever owns them")
    bought = price(purchase.lines)
    return Checkout.objects.create(
        public_id=public_id,
        customer_id=purchase.customer_id,
        customer_name=purchase.customer_name,
        lines=[
            {
                "product": line.product,
                "quantity": line.quantity,
                "gift_message": line.gift_message,
                "cents": bought.cents[line.product],
            }
            for line in purchase.lines
        ],
        total_cents=bought.total_cents,
        currency=bought.currency,
        remark=purchase.note,
        reference=purchase.client_reference,
        ship_to=purchase.shipping_address,
    )


def number(public_id: str) -> dict[str, Any]:
    """Give the checkout the number that its order will have; what the other services need to know of it."""
    made = Checkout.objects.select_for_update().get(public_id=public_id)
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence('sales_order', 'id'))")
        (made.order_number,) = cursor.fetchone()
    made.save(update_fields=["order_number"])
    return {
        "customer": made.customer_id,
        "order": made.order_number,
        "cents": made.total_cents,
        "lines": [{"product": line["product"], "quantity": line["quantity"]} for line in made.lines],
    }


def confirm(public_id: str) -> None:
    """Make the paid order that the checkout asked for, in the transaction of the saga's step.

    The customer may have withdrawn since the checkout was opened, so its state is read again, under its lock.

    Raises:
        Rejected: they have.
    """
    made = Checkout.objects.select_for_update().get(public_id=public_id)
    if made.state != CheckoutState.PENDING:
        raise Rejected(made.state)
    now = timezone.now()
    order = Order(
        id=made.order_number,
        public_id=made.public_id,
        customer_id=made.customer_id,
        customer_name=made.customer_name,
        state=State.PAID,
        total_cents=made.total_cents,
        currency=made.currency,
        remark=made.remark,
        reference=made.reference,
        ship_to=made.ship_to,
        ordered_at=now,
        paid_at=now,
    )
    _end(made, CheckoutState.CONFIRMED)
    lines = [
        Line(product=each["product"], quantity=each["quantity"], gift_message=each["gift_message"])
        for each in made.lines
    ]
    cents = {each["product"]: each["cents"] for each in made.lines}
    record(order, Bought(lines=lines, cents=cents, currency=made.currency))
    events.order_moved(order)


def cancel(public_id: str) -> None:
    """End a checkout that could not be carried through, or was withdrawn."""
    made = Checkout.objects.select_for_update().get(public_id=public_id)
    if made.state in (CheckoutState.PENDING, CheckoutState.WITHDRAWN):
        _end(made, CheckoutState.CANCELLED)


def withdraw(customer_id: int, public_id: uuid.UUID) -> Checkout:
    """Let the customer change their mind; what was reserved and paid is given back when the last step sees it.

    Opens its own transaction; repeated, it changes nothing.

    Raises:
        Checkout.DoesNotExist: the customer has no such checkout.
        TooLate: it has ended.
    """
    with transaction.atomic():
        made = Checkout.objects.select_for_update().get(public_id=public_id, customer_id=customer_id)
        if made.state == CheckoutState.PENDING:
            made.state = CheckoutState.WITHDRAWN
            made.save(update_fields=["state"])
        elif made.state != CheckoutState.WITHDRAWN:
            raise TooLate(made.state)
    return made


def _end(made: Checkout, state: CheckoutState) -> None:
    made.state, made.ended_at = state, timezone.now()
    made.save(update_fields=["state", "ended_at"])
