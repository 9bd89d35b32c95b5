"""The stock in PostgreSQL's rows: every change in one transaction, always in product order."""

import uuid
from collections import Counter
from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from . import events, models
from .models import Movement, Reason, ReservationState, Stock
from .ports import NoReservation, OtherReservation, Reservation, ReservedLine, Shelf, TooFew


class Rows:
    """The Keeper over the service's own database."""

    def answers(self) -> None:
        """See Keeper; whether the database can be reached is asked by `readyz` itself."""

    def find(self, product_id: int) -> Shelf | None:
        """See Keeper."""
        found = Stock.objects.filter(product_id=product_id).first()
        return None if found is None else Shelf(product_id=product_id, on_hand=found.on_hand)

    def receive(self, product_id: int, quantity: int) -> Shelf:
        """See Keeper; in a transaction of its own."""
        with transaction.atomic():
            Stock.objects.bulk_create([Stock(product_id=product_id)], ignore_conflicts=True)
            _move(product_id, quantity, Reason.RECEIVED)
            return Shelf(product_id=product_id, on_hand=Stock.objects.get(product_id=product_id).on_hand)

    def settle(self, order_number: int, quantities: Mapping[int, int], reason: Reason) -> bool:
        """See Keeper. Two who settle one order wait at its products' rows, and the second looks for movements then."""
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

    def sell(self, order: uuid.UUID, order_number: int, quantities: Mapping[int, int]) -> bool:
        """See Keeper."""
        _end_of_order(order, ReservationState.FULFILLED)
        return self.settle(order_number, quantities, Reason.ORDERED)

    def reserve(self, customer_id: int, reference: str, quantities: Counter[int]) -> Reservation:
        """See Keeper; opens its own transaction.

        Each product is one conditional UPDATE: whoever would promise more than there is changes no row, so no lock is
        held while something is looked up and nothing is ever promised twice.
        """
        try:
            with transaction.atomic():
                made = models.Reservation.objects.create(customer_id=customer_id, reference=reference)
                _promise(made, quantities)
                return _shown(made)
        except IntegrityError:
            known = models.Reservation.objects.get(customer_id=customer_id, reference=reference)
            lines = Counter(dict(known.lines.values_list("product_id", "quantity")))
            if known.state != ReservationState.HELD or lines != quantities:
                raise OtherReservation(reference) from None
            return _shown(known)

    def release(self, customer_id: int, public_id: uuid.UUID) -> Reservation:
        """See Keeper; in a transaction of its own."""
        with transaction.atomic():
            mine = models.Reservation.objects.select_for_update().filter(
                public_id=public_id, customer_id=customer_id, order_public_id=None
            )
            held = mine.first()
            if held is None:
                raise NoReservation(str(public_id))
            _end(held, ReservationState.RELEASED)
            return _shown(held)

    def reserve_for_order(self, order: uuid.UUID, customer_id: int, quantities: Counter[int]) -> None:
        """See Keeper."""
        made = models.Reservation.objects.create(
            customer_id=customer_id, reference=f"order {order}", order_public_id=order
        )
        _promise(made, quantities)

    def release_of_order(self, order: uuid.UUID) -> None:
        """See Keeper."""
        _end_of_order(order, ReservationState.RELEASED)


def _promise(made: models.Reservation, quantities: Counter[int]) -> None:
    models.ReservedLine.objects.bulk_create(
        models.ReservedLine(reservation=made, product_id=product, quantity=quantity)
        for product, quantity in sorted(quantities.items())
    )
    for product, quantity in sorted(quantities.items()):
        free = Stock.objects.filter(product_id=product, on_hand__gte=F("reserved") + quantity)
        if not free.update(reserved=F("reserved") + quantity):
            raise TooFew(product)


def _end_of_order(order: uuid.UUID, state: ReservationState) -> None:
    for held in models.Reservation.objects.select_for_update().filter(order_public_id=order):
        _end(held, state)


def _end(held: models.Reservation, state: ReservationState) -> None:
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


def _shown(row: models.Reservation) -> Reservation:
    lines = row.lines.order_by("id").values_list("product_id", "quantity")
    return Reservation(
        public_id=row.public_id,
        reference=row.reference,
        state=row.state,
        lines=[ReservedLine(product_id=product, quantity=quantity) for product, quantity in lines],
    )
