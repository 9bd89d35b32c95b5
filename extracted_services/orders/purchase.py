"""The domain logic of orders: place one, and move it through its life."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from . import events
from .models import DailyCount, Order, OrderItem, Product, State

# What the monolith's numeric(12, 2) can hold: an order above it could never be carried back.
LARGEST_TOTAL_CENTS = 999_999_999_999

# Which states each transition may start from.
LEGAL_FROM = {
    State.PAID: {State.PLACED},
    State.SHIPPED: {State.PAID},
    State.CANCELLED: {State.PLACED, State.PAID},
}


class PurchaseRefused(Exception):
    """The purchase cannot be made as asked; the message says why."""


class IllegalTransition(Exception):
    """The order is in a state from which the wanted one cannot be reached.

    Attributes:
        state: Where the order is.
        wanted: Where it was to go.
    """

    def __init__(self, state: str, wanted: State) -> None:
        legal = " or ".join(sorted(LEGAL_FROM[wanted]))
        super().__init__(f"order is {state!r}; only an order that is {legal} can become {wanted.value}")
        self.state = state
        self.wanted = wanted


@dataclass(frozen=True, kw_only=True)
class Line:
    """One wanted line of a purchase."""

    product: int
    quantity: int
    gift_message: str | None = None


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """What a customer asks for; prices are ours to say, so there are none in it."""

    customer_id: int
    customer_name: str
    lines: Sequence[Line]
    shipping_address: dict[str, Any]
    client_reference: str = ""
    note: str | None = None


def place(purchase: Purchase) -> Order:
    """Place the order with its items and publish `order.placed`, in one transaction of its own.

    Stock and payment are the monolith's; it reacts to the event.

    Raises:
        PurchaseRefused: A product is unknown or inactive, currencies differ, or the total is too large.
    """
    with transaction.atomic():
        products = _priced(purchase.lines)
        total_cents = sum(line.quantity * products[line.product].price_cents for line in purchase.lines)
        if total_cents > LARGEST_TOTAL_CENTS:
            raise PurchaseRefused(f"the total of {total_cents} cents is too large; order fewer")
        order = Order.objects.create(
            customer_id=purchase.customer_id,
            customer_name=purchase.customer_name,
            total_cents=total_cents,
            currency=products[purchase.lines[0].product].currency,
            remark=purchase.note,
            reference=purchase.client_reference,
            ship_to=purchase.shipping_address,
            ordered_at=timezone.now(),
        )
        items = OrderItem.objects.bulk_create(
            OrderItem(
                order=order,
                product_id=line.product,
                qty=line.quantity,
                unit_cents=products[line.product].price_cents,
                gift_note=line.gift_message,
            )
            for line in purchase.lines
        )
        events.order_placed(order, items)
        # Last, because every purchase of the day waits for this one row.
        DailyCount.add_placed(order.ordered_at)
    return order


def pay(customer_id: int, public_id: uuid.UUID) -> Order:
    """Mark the customer's order paid; see `_move` for the transaction and what is raised."""
    return _move(customer_id, public_id, State.PAID)


def ship(customer_id: int, public_id: uuid.UUID) -> Order:
    """Mark the customer's order shipped; see `_move` for the transaction and what is raised."""
    return _move(customer_id, public_id, State.SHIPPED)


def cancel(customer_id: int, public_id: uuid.UUID) -> Order:
    """Cancel the customer's order; see `_move` for the transaction and what is raised."""
    return _move(customer_id, public_id, State.CANCELLED)


def _move(customer_id: int, public_id: uuid.UUID, wanted: State) -> Order:
    """Move an order to `wanted` and publish the event, in one transaction; once there it stays as it is.

    Raises:
        Order.DoesNotExist: The customer has no such order.
        IllegalTransition: The order is elsewhere in its life.
    """
    with transaction.atomic():
        order = Order.objects.select_for_update(no_key=True).get(public_id=public_id, customer_id=customer_id)
        if order.state == wanted:
            return order
        if order.state not in LEGAL_FROM[wanted]:
            raise IllegalTransition(order.state, wanted)
        order.state = wanted
        if wanted == State.PAID:
            order.paid_at = timezone.now()
        order.save(update_fields=["state", "paid_at", "modified_at"])
        events.order_moved(order)
    return order


def _priced(lines: Sequence[Line]) -> dict[int, Product]:
    """Give the products of `lines` by id, from the local replica of the catalogue."""
    wanted = {line.product for line in lines}
    products = {product.id: product for product in Product.objects.filter(id__in=wanted, active=True)}
    if unknown := sorted(wanted - products.keys()):
        raise PurchaseRefused(f"unknown product {', '.join(map(str, unknown))}; choose from /api/products/")
    currencies = sorted({product.currency for product in products.values()})
    if len(currencies) > 1:
        raise PurchaseRefused(f"lines are priced in {' and '.join(currencies)}; order each currency separately")
    return products
