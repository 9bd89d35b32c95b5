"""The staff: one clerk who reprices products and enters deliveries, over HTTP, one write after another."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

from demo.browser import Browser, RequestFailed
from demo.shoppers import Shop

PAUSE_SECONDS = 0.15
PRODUCTS = 40
Promote = Callable[[int], None]
"""Makes a customer one of the staff; there is no page for that."""


class Clerk(threading.Thread):
    """Works through the shop's own API until the shop is stopping; every write is entered in the ledger first."""

    def __init__(self, shop: Shop, promote: Promote) -> None:
        super().__init__(name="clerk", daemon=True)
        self._shop = shop
        self._promote = promote
        self._choices = random.Random(f"{shop.seed}-clerk")  # noqa: S311
        self._browser = Browser(shop.url, shop.tally, self.name)
        self._products: list[int] = []

    def run(self) -> None:
        try:
            self._begin()
            while not self._shop.stopping.wait(PAUSE_SECONDS * self._choices.uniform(0.5, 1.5)):
                try:
                    self._work()
                except RequestFailed:
                    continue
        except RequestFailed:
            return
        except Exception as error:
            self._shop.tally.failure(
                who=self.name, request="work", expected="no exception in the clerk", status=None, detail=repr(error)
            )
        finally:
            self._browser.close()

    def _begin(self) -> None:
        self._browser.fetch_token()
        body = {
            "email": f"clerk-{self._shop.run}@example.test",
            "password": "long enough for a clerk",
            "first_name": "Clerk",
            "last_name": self._shop.run,
        }
        answer = self._browser.write("sign up", "POST", "/api/accounts/signup/", body, expected=201)
        self._promote(answer["id"])
        # The monolith's next answer brings a token that says so.
        self._browser.fetch_token()
        page = self._browser.get("browse", "/api/products/")
        self._products = [product["id"] for product in page["results"]]

    def _work(self) -> None:
        product = self._choices.choice(self._products)
        if "inventory" in self._shop.contexts and self._choices.random() < 0.4:
            quantity = self._choices.randint(1, 50)
            body = {"quantity": quantity}
            self._write("delivery", "POST", f"/api/stock/{product}/deliveries/", body, product=product, **body)
        elif "catalog" in self._shop.contexts:
            price = f"{self._choices.randint(1, 99)}.{self._choices.randint(0, 99):02}"
            self._write("product", "PATCH", f"/api/products/{product}/", {"price": price}, product=product, price=price)

    def _write(self, operation: str, method: str, path: str, body: dict[str, Any], **facts: Any) -> None:
        number = self._shop.ledger.intent(operation, **facts)
        answer = self._browser.write(operation, method, path, body)
        self._shop.ledger.acknowledge(number)
        self._shop.clock.acknowledged()
        if operation == "product" and answer["price"] != facts["price"]:
            self._browser.complain(operation, f"{body!r}", f"{answer!r}")
