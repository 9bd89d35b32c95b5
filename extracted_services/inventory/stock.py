"""The domain logic of the stock: take and put back, receive, reserve and release; always in product order."""

import uuid
from collections import Counter
from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from . import events
from .models import Movement, Reason, Reservation, ReservationState, ReservedLine, Stock


class TooFew(Exception):
    """There are fewer than asked for; nothing was reserved."""

    def __init__(self, product_id: int) -> None:
        super().__init__(f"not enough in stock of product {product_id}; reserve fewer of it")
        self.product_id = product_id


class OtherReservation(Exception):
    """The reference was used for other products, or its reservation was released."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"the reference {reference!r} stands for another reservation; use a new one")


def settle(order_number: int, quantities: Mapping[int, int], reason: Reason) -> bool:
    """Change the stock by what an order took or gave back, once; False when it was done before, by whomever.

    Call inside `atomic()`. Two who settle one order wait for each other at its products' rows, and the second looks
    for movements only then.
    """
    sign = -1 if reason == Reason.ORDERED else +1
    Stock.objects.bulk_create((Stock(product_id=product) for product in sorted(quantities)), ignore_conflicts=True)
    rows = Stock.objects.select_for_update().filter(product_id__in=quantities).order_by("product_id")
    on_hand = {row.product_id: row.on_hand for row in rows}
    if Movement.objects.filter(order_number=order_number, reason=reason).exists():
        return False
    for product, quantity in sorted(quantities.items()):
        _move(product, sign * quantity, reason, order_number)
    short = [product for product, quantity in sorted(quantities.items()) if on_hand[product] + sign * quantity < 0]
    events.stock_moved(order_number, quantities, reason, short)
    return True


def receive(product_id: int, quantity: int) -> Stock:
    """Add a delivery to what is on hand, in a transaction of its own."""
    with transaction.atomic():
        Stock.objects.bulk_create([Stock(product_id=product_id)], ignore_conflicts=True)
        _move(product_id, quantity, Reason.RECEIVED)
        return Stock.objects.get(product_id=product_id)


def reserve(customer_id: int, reference: str, quantities: Counter[int]) -> Reservation:
    """Promise products to a customer, all or nothing; under the same reference once.

    Opens its own transaction. Each product is one conditional UPDATE: whoever would promise more than there is changes
    no row, so no lock is held while something is looked up and nothing is ever promised twice.

    Raises:
        TooFew: there are fewer than asked for.
        OtherReservation: the customer's reference stands for something else.
    """
    try:
        with transaction.atomic():
            made = Reservation.objects.create(customer_id=customer_id, reference=reference)
            _promise(made, quantities)
            return made
    except IntegrityError:
        known = Reservation.objects.get(customer_id=customer_id, reference=reference)
        lines = Counter(dict(known.lines.values_list("product_id", "quantity")))
        if known.state != ReservationState.HELD or lines != quantities:
            raise OtherReservation(reference) from None
        return known


def release(customer_id: int, public_id: uuid.UUID) -> Reservation:
    """Take a promise back, in a transaction of its own; repeated, it changes nothing.

    Raises:
        Reservation.DoesNotExist: the customer has no such reservation.
    """
    with transaction.atomic():
        held = Reservation.objects.select_for_update().get(
            public_id=public_id, customer_id=customer_id, order_public_id=None
        )
        _end(held, ReservationState.RELEASED)
    return held


def reserve_for_order(order: uuid.UUID, customer_id: int, quantities: Counter[int]) -> None:
    """Promise products to what will be an order; call inside `atomic()`, once an order (a saga's step is).

    Raises:
        TooFew: there are fewer than asked for.
    """
    made = Reservation.objects.create(customer_id=customer_id, reference=f"order {order}", order_public_id=order)
    _promise(made, quantities)


def release_of_order(order: uuid.UUID) -> None:
    """Take the promise to an order back; call inside `atomic()`."""
    for held in Reservation.objects.select_for_update().filter(order_public_id=order):
        _end(held, ReservationState.RELEASED)


def fulfil(order: uuid.UUID) -> None:
    """Let go of what was promised to an order because it is taken now; call inside `atomic()`, before `settle`."""
    for held in Reservation.objects.select_for_update().filter(order_public_id=order):
        _end(held, ReservationState.FULFILLED)


def _promise(made: Reservation, quantities: Counter[int]) -> None:
    ReservedLine.objects.bulk_create(
        ReservedLine(reservation=made, product_id=product, quantity=quantity)
        for product, quantity in sorted(quantities.items())
    )
    for product, quantity in sorted(quantities.items()):
        free = Stock.objects.filter(product_id=product, on_hand__gte=F("reserved") + quantity)
        if not free.update(reserved=F("reserved") + quantity):
            raise TooFew(product)


def _end(held: Reservation, state: ReservationState) -> None:
    if held.state == ReservationState.HELD:
        for line in held.lines.order_by("product_id"):
            Stock.objects.filter(product_id=line.product_id).update(reserved=F("reserved") - line.quantity)
        held.state = state
        held.save(update_fields=["state"])


def _move(product_id: int, quantity: int, reason: Reason, order_number: int | None = None) -> None:
    Stock.objects.filter(product_id=product_id).update(on_hand=F("on_hand") + quantity)
    Movement.objects.create(
        product_id=product_id, order_number=order_number, quantity=quantity, reason=reason, moved_at=timezone.now()
    )
