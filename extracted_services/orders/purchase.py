"""The domain logic of orders: place one, and move it through its life."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from . import events
from .models import Customer, DailyCount, Order, OrderItem, Product, State

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


@dataclass(frozen=True, kw_only=True)
class Bought:
    """Lines with what one of each product cost when it was bought."""

    lines: Sequence[Line]
    cents: Mapping[int, int]
    currency: str

    @property
    def total_cents(self) -> int:
        """What all of it costs."""
        return sum(line.quantity * self.cents[line.product] for line in self.lines)


def place(purchase: Purchase) -> Order:
    """Place the order with its items and publish `order.placed`, in one transaction of its own.

    Stock and payment are other services'; they react to the event.

    Raises:
        PurchaseRefused: see `price`.
    """
    with transaction.atomic():
        bought = price(purchase.lines)
        order = Order(
            customer_id=purchase.customer_id,
            customer_name=purchase.customer_name,
            total_cents=bought.total_cents,
            currency=bought.currency,
            remark=purchase.note,
            reference=purchase.client_reference,
            ship_to=purchase.shipping_address,
            ordered_at=timezone.now(),
        )
        record(order, bought)
    return order


def price(lines: Sequence[Line]) -> Bought:
    """What lines cost now, by the local replica of the catalogue.

    Raises:
        PurchaseRefused: a product is unknown or inactive, currencies differ, or the total is too large.
    """
    products = _priced(lines)
    cents = {number: product.price_cents for number, product in products.items()}
    bought = Bought(lines=lines, cents=cents, currency=products[lines[0].product].currency)
    if bought.total_cents > LARGEST_TOTAL_CENTS:
        raise PurchaseRefused(f"the total of {bought.total_cents} cents is too large; order fewer")
    return bought


def record(order: Order, bought: Bought) -> None:
    """Write a new order with its items, publish `order.placed` and count it; call inside `atomic()`."""
    order.customer_name = Customer.called(order.customer_id, order.customer_name)
    order.save(force_insert=True)
    items = OrderItem.objects.bulk_create(
        OrderItem(
            order=order,
            product_id=line.product,
            qty=line.quantity,
            unit_cents=bought.cents[line.product],
            gift_note=line.gift_message,
        )
        for line in bought.lines
    )
    events.order_placed(order, items)
    # Last, because every purchase of the day waits for this one row.
    DailyCount.add_placed(order.ordered_at)


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
