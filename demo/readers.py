"""Readers: customers who bought a few things and now only look at them, each time from another device."""

from __future__ import annotations

import threading

from demo.browser import RequestFailed
from demo.customer import Customer
from demo.shoppers import Shop

PURCHASES = 3
PIN_SECONDS = 2.5
"""After a write the proxy lets its writer read from the owner for two seconds."""

PAUSE_SECONDS = 0.05


class Reader(threading.Thread):
    """Lists, reads and sums up its own orders while ``active`` is set."""

    def __init__(self, shop: Shop, number: int, active: threading.Event) -> None:
        super().__init__(name=f"reader-{number}", daemon=True)
        self._shop = shop
        self._number = number
        self._active = active

    def run(self) -> None:
        while not self._active.wait(0.05):
            if self._shop.stopping.is_set():
                return
        customer = self._shop.customer(f"r{self._number}", 1)
        try:
            customer.sign_up()
            for _ in range(PURCHASES):
                customer.purchase()
            self._shop.stopping.wait(PIN_SECONDS)
            while not self._shop.stopping.is_set():
                if not self._active.wait(0.05):
                    continue
                customer.change_device()
                try:
                    self._look(customer)
                except RequestFailed:
                    continue
                self._shop.stopping.wait(PAUSE_SECONDS)
        except RequestFailed:
            return
        finally:
            customer.close()

    def _look(self, customer: Customer) -> None:
        match customer.choices.randrange(3):
            case 0:
                customer.list_own()
            case 1:
                customer.ordered_products()
            case _:
                customer.read_own(customer.choices.choice(customer.orders))
