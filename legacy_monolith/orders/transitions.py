"""What may happen to an order after its purchase: pay, ship, cancel."""

from __future__ import annotations

import uuid
from collections import Counter

from django.db import transaction
from django.utils import timezone

from legacy_monolith.accounts.models import User
from legacy_monolith.inventory.models import Movement
from legacy_monolith.inventory.stock import settle
from legacy_monolith.orders import events
from legacy_monolith.orders.models import Order
from legacy_monolith.payments import ledger

Status = Order.Status
LEGAL_FROM = {
    Status.PAID: (Status.PLACED,),
    Status.SHIPPED: (Status.PAID,),
    Status.CANCELLED: (Status.PLACED, Status.PAID),
}


class IllegalTransition(Exception):
    """The order is in a state that this transition does not start from."""

    def __init__(self, order: Order, to: Status) -> None:
        legal = " or ".join(LEGAL_FROM[to])
        super().__init__(f"order is {str(order.status)!r}; only an order that is {legal} can become {to.value}")
        self.status = order.status
        self.to = to


@transaction.atomic
def pay(user: User, public_id: uuid.UUID) -> Order:
    """Capture the payment; a repetition changes nothing.

    Raises:
        Order.DoesNotExist: no such order of this customer.
        IllegalTransition: the order is not placed.
    """
    order, due = _locked(user, public_id, Status.PAID)
    if due:
        order.status, order.paid_at = Status.PAID, timezone.now()
        order.save(update_fields=["status", "paid_at", "updated_at"])
        ledger.capture(order.pk)
        events.order_paid(order)
    return order


@transaction.atomic
def ship(user: User, public_id: uuid.UUID) -> Order:
    """Mark a paid order as shipped; repetition and errors as in `pay`."""
    order, due = _locked(user, public_id, Status.SHIPPED)
    if due:
        order.status = Status.SHIPPED
        order.save(update_fields=["status", "updated_at"])
        events.order_shipped(order)
    return order


@transaction.atomic
def cancel(user: User, public_id: uuid.UUID) -> Order:
    """Refund the payment and put the products back; repetition and errors as in `pay`."""
    order, due = _locked(user, public_id, Status.CANCELLED)
    if due:
        order.status = Status.CANCELLED
        order.save(update_fields=["status", "updated_at"])
        lines = list(order.lines.order_by("id"))
        quantities: Counter[int] = Counter()
        for line in lines:
            quantities[line.product_id] += line.quantity
        settle(order.pk, quantities, Movement.Reason.CANCELLED)
        ledger.refund(order.pk)
        events.order_cancelled(order, lines)
    return order


def _locked(user: User, public_id: uuid.UUID, to: Status) -> tuple[Order, bool]:
    """Lock the customer's order; say whether the transition is still to be made."""
    order = Order.objects.select_for_update(no_key=True).get(user=user, public_id=public_id)
    if order.status == to:
        return order, False
    if order.status not in LEGAL_FROM[to]:
        raise IllegalTransition(order, to)
    return order, True
