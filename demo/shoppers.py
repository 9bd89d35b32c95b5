"""Shoppers: threads that are one customer after another, at an even pace."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from demo.browser import RequestFailed
from demo.customer import Customer
from demo.gaps import WriteClock
from demo.ledger import Ledger
from demo.tally import Tally

VISITS_PER_CUSTOMER = 120
"""After so many actions a shopper thread signs up as somebody new (hashing a password is dear)."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What every thread of the traffic shares."""

    url: str
    run: str
    seed: int
    ledger: Ledger
    tally: Tally
    clock: WriteClock
    stopping: threading.Event
    contexts: tuple[str, ...] = ("orders",)

    def customer(self, role: str, generation: int) -> Customer:
        name = f"{self.run}-{role}-{generation}"
        return Customer(
            url=self.url,
            name=name,
            choices=random.Random(f"{self.seed}-{role}-{generation}"),  # noqa: S311
            tally=self.tally,
            ledger=self.ledger,
            clock=self.clock,
        )


class Shopper(threading.Thread):
    """Makes about ``rate`` requests a second until the shop is stopping."""

    def __init__(self, shop: Shop, number: int, rate: float) -> None:
        super().__init__(name=f"shopper-{number}", daemon=True)
        self._shop = shop
        self._number = number
        self._interval = 1.0 / rate
        self._choices = random.Random(f"{shop.seed}-pace-{number}")  # noqa: S311

    def run(self) -> None:
        generation = 0
        while not self._shop.stopping.is_set():
            generation += 1
            customer = self._shop.customer(f"s{self._number}", generation)
            try:
                self._visit(customer)
            except Exception as error:
                self._shop.tally.failure(
                    who=customer.name,
                    request="visit",
                    expected="no exception in the shopper",
                    status=None,
                    detail=repr(error),
                )
                self._shop.stopping.wait(1.0)
            finally:
                customer.close()

    def _visit(self, customer: Customer) -> None:
        try:
            customer.sign_up()
        except RequestFailed:
            self._shop.stopping.wait(1.0)
            return
        for _ in range(VISITS_PER_CUSTOMER):
            if self._shop.stopping.wait(self._interval * self._choices.uniform(0.5, 1.5)):
                return
            try:
                self._act(customer)
            except RequestFailed:
                continue

    def _act(self, customer: Customer) -> None:
        actions = {**ACTIONS, **{name: FURTHER[name] for name in self._shop.contexts if name in FURTHER}}
        action = customer.choices.choices(tuple(actions), weights=tuple(weight for weight, _ in actions.values()))[0]
        _, act = actions[action]
        act(customer, self._pause)

    def _pause(self) -> None:
        """Keep the pace: an action of two requests (a write is read again at once) takes two turns."""
        self._shop.stopping.wait(self._interval)


Act = Callable[[Customer, Callable[[], None]], None]


def _purchase(customer: Customer, pause: Callable[[], None]) -> None:
    order = customer.purchase()
    if order is not None:
        customer.read_own(order)
        pause()


def _move(operation: str, *states: str) -> Act:
    def act(customer: Customer, pause: Callable[[], None]) -> None:
        movable = customer.in_state(*states)
        if not movable:
            return _purchase(customer, pause)
        order = customer.move(operation, customer.choices.choice(movable))
        if order is not None:
            customer.read_own(order)
            pause()

    return act


def _read(customer: Customer, pause: Callable[[], None]) -> None:
    if not customer.orders:
        return customer.browse()
    customer.read_own(customer.choices.choice(customer.orders))


ACTIONS: dict[str, tuple[int, Act]] = {
    "browse": (18, lambda customer, pause: customer.browse()),
    "look": (8, lambda customer, pause: customer.look_closer()),
    "purchase": (22, _purchase),
    "pay": (16, _move("pay", "placed")),
    "ship": (9, _move("ship", "paid")),
    "cancel": (4, _move("cancel", "placed", "paid")),
    "list": (10, lambda customer, pause: customer.list_own()),
    "read": (8, _read),
    "products": (3, lambda customer, pause: customer.ordered_products()),
    "rename": (2, lambda customer, pause: customer.rename()),
}

FURTHER: dict[str, tuple[int, Act]] = {
    "inventory": (4, lambda customer, pause: customer.look_at_stock()),
    "payments": (4, lambda customer, pause: customer.own_payments()),
    "users": (3, lambda customer, pause: customer.look_at_oneself()),
}
"""What customers do besides where these contexts are carried out as well."""
