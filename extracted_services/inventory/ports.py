"""Who keeps the stock: what rows and documents both answer, and how they refuse."""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .models import Reason


class TooFew(Exception):
    """There are fewer than asked for; nothing was reserved."""

    def __init__(self, product_id: int) -> None:
        super().__init__(f"not enough in stock of product {product_id}; reserve fewer of it")
        self.product_id = product_id


class OtherReservation(Exception):
    """The reference was used for other products, or its reservation was released."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"the reference {reference!r} stands for another reservation; use a new one")


class NoReservation(Exception):
    """The customer has no such reservation."""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """How many of a product there are."""

    product_id: int
    on_hand: int


@dataclass(frozen=True, kw_only=True)
class ReservedLine:
    """How much of which product."""

    product_id: int
    quantity: int


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """Products promised to a customer, under the customer's own word for it."""

    public_id: uuid.UUID
    reference: str
    state: str
    lines: Sequence[ReservedLine]


class Keeper(Protocol):
    """The stock in one engine. What says "inside `atomic()`" publishes there, and may be called again after a crash."""

    def answers(self) -> None:
        """Return if the engine can be asked now.

        Raises:
            StoreAway: it cannot; the message says why.
        """

    def find(self, product_id: int) -> Shelf | None:
        """What is on hand; None of a product that was never there."""

    def receive(self, product_id: int, quantity: int) -> Shelf:
        """Add a delivery to what is on hand."""

    def settle(self, order_number: int, quantities: Mapping[int, int], reason: Reason) -> bool:
        """Change the stock by what an order took or gave back, once; False when it was done before, by whomever.

        Call inside `atomic()`: `stock.moved` is published in that transaction.
        """

    def sell(self, order: uuid.UUID, order_number: int, quantities: Mapping[int, int]) -> bool:
        """Settle a sale; what was reserved for the order is taken out of its reservation. Call inside `atomic()`."""

    def reserve(self, customer_id: int, reference: str, quantities: Counter[int]) -> Reservation:
        """Promise products to a customer, all or nothing; under the same reference once.

        Raises:
            TooFew: there are fewer than asked for.
            OtherReservation: the customer's reference stands for something else.
        """

    def release(self, customer_id: int, public_id: uuid.UUID) -> Reservation:
        """Take a promise back; repeated, it changes nothing.

        Raises:
            NoReservation: the customer has no such reservation.
        """

    def reserve_for_order(self, order: uuid.UUID, customer_id: int, quantities: Counter[int]) -> None:
        """Promise products to what will be an order; call inside `atomic()`, once an order (a saga's step is).

        Raises:
            TooFew: there are fewer than asked for.
        """

    def release_of_order(self, order: uuid.UUID) -> None:
        """Take the promise to an order back; call inside `atomic()`."""
