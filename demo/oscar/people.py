"""Customers who browse, fill baskets and check out, and a clerk who works on orders: all by oscar's own views."""

from __future__ import annotations

import random
import re
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from demo.browser import RequestFailed
from demo.gaps import WriteClock
from demo.ledger import Ledger
from demo.oscar.pages import Pages, plain
from demo.tally import Tally

PASSWORD = "a long enough phrase"  # noqa: S105
CLERK = "clerk@example.com"
ORDERS_PER_CUSTOMER = 4
PRODUCTS = tuple(f"/catalogue/book-{number}_{number + 1}/" for number in range(8))
"""As the seed made them; oscar's list of products wants a search engine, which the demonstration does without."""

PIPELINE = {"Pending": "Being processed", "Being processed": "Complete"}
ADDRESS = {
    "first_name": "Zoë", "last_name": "O'Brien", "line1": "ул. Ленина 3", "line4": "London", "postcode": "N1 9RT",
    "country": "GB",
}  # fmt: skip


@dataclass(kw_only=True)
class Shop:
    """What everybody in the shop shares."""

    url: str
    run: str
    seed: int
    ledger: Ledger
    tally: Tally = field(default_factory=Tally)
    clock: WriteClock = field(default_factory=WriteClock)
    stopping: threading.Event = field(default_factory=threading.Event)
    placed: deque[str] = field(default_factory=lambda: deque(maxlen=50))


class ShopClosed(Exception):
    """It is time to go, in the middle of a visit."""


class Person(threading.Thread):
    """Comes again and again until the shop is stopping; what goes wrong is tallied."""

    def __init__(self, shop: Shop, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.shop = shop
        self.choices = random.Random(f"{shop.seed}-{name}")  # noqa: S311
        self._visits = 0

    def run(self) -> None:
        while not self.shop.stopping.is_set():
            self._visits += 1
            pages = Pages(self.shop.url, self.shop.tally, self.name)
            try:
                self.visit(pages, f"{self.shop.run}-{self.name}-{self._visits}@example.com")
            except ShopClosed:
                return
            except RequestFailed:
                self.shop.stopping.wait(0.5)
            except Exception as error:
                self.shop.tally.failure(
                    who=self.name, request="visit", expected="no exception", status=None, detail=repr(error)
                )
                self.shop.stopping.wait(0.5)
            finally:
                pages.close()

    def visit(self, pages: Pages, email: str) -> None:
        raise NotImplementedError

    def pause(self) -> bool:
        """A breath between two things; True when it is time to go."""
        return self.shop.stopping.wait(self.choices.uniform(0.1, 0.5))


class Customer(Person):
    """Registers, then buys a few times and looks at the orders made."""

    def visit(self, pages: Pages, email: str) -> None:
        pages.page("login page", "/accounts/login/")
        fields = {"registration-email": email, "registration_submit": "Register"}
        fields |= {f"registration-password{number}": PASSWORD for number in (1, 2)}
        pages.submit("register", "/accounts/login/", wanted="Log ?out", **fields)
        for _ in range(ORDERS_PER_CUSTOMER):
            if self.pause():
                return
            pages.page("catalogue", "/catalogue/")
            page = pages.page("product", self.choices.choice(PRODUCTS))
            title = self._title(page)
            number = self._buy(pages, email, page, title, self.choices.randint(1, 3))
            if number not in plain(pages.page("own orders", "/accounts/orders/")):
                pages.complain("own orders", f"order {number}", "the order just placed is not listed")
            if title not in plain(pages.page("own order", f"/accounts/orders/{number}/")):
                pages.complain("own order", title, f"order {number} shows another product")

    def _title(self, page: str) -> str:
        found = re.search(r"<h1[^>]*>\s*([^<]+?)\s*</h1>", page)
        return found.group(1) if found else ""

    def _buy(self, pages: Pages, email: str, page: str, title: str, quantity: int) -> str:
        form = re.search(r'action="(/basket/add/\d+/)"', page)
        if not form:
            pages.complain("product", "a form that fills the basket", plain(page)[-500:])
        path = form.group(1)  # type: ignore[union-attr]
        wrapped = {"gift": "on"} if self.choices.random() < 0.5 else {}
        pages.submit("basket", path, wanted="basket", quantity=quantity, **wrapped)
        if self.pause():
            raise ShopClosed
        pages.page("look at basket", "/basket/")
        pages.page("checkout", "/checkout/")
        pages.submit("shipping address", "/checkout/shipping-address/", wanted="Payment|payment", **ADDRESS)
        pages.page("payment", "/checkout/payment-details/")
        pages.submit("preview", "/checkout/preview/", wanted="Place order")
        intent = self.shop.ledger.intent("place", customer=email, title=title, quantity=quantity)
        page = pages.submit("place order", "/checkout/preview/", wanted="Print this page", action="place_order")
        found = re.search(r"\b(1\d{5})\b", plain(page))
        if not found:
            pages.complain("place order", "an order number", plain(page)[-500:])
        number = found.group(1)  # type: ignore[union-attr]
        self.shop.ledger.acknowledge(intent, order=number)
        self.shop.clock.acknowledged()
        self.shop.placed.append(number)
        return number


class Clerk(Person):
    """Moves orders on, writes notes on them, and takes some notes away again."""

    def visit(self, pages: Pages, email: str) -> None:
        pages.page("login page", "/accounts/login/")
        fields = {"login-username": CLERK, "login-password": PASSWORD, "login_submit": "Log In"}
        pages.submit("log in", "/accounts/login/", wanted="Log ?out", **fields)
        while not self.pause():
            if not self.shop.placed:
                continue
            number = self.choices.choice(tuple(self.shop.placed))
            path = f"/dashboard/orders/{number}/"
            page = pages.page("staff's order", path)
            pages.page("staff's orders", "/dashboard/orders/")
            self._note(pages, path, number)
            self._move(pages, path, number, page)

    def _note(self, pages: Pages, path: str, number: str) -> None:
        text = f"note {self.choices.getrandbits(48):x}"
        ledger = self.shop.ledger
        intent = ledger.intent("note", order=number, text=text)
        page = pages.submit("note", path, wanted=text, order_action="save_note", message=text, note_type="")
        ledger.acknowledge(intent)
        self.shop.clock.acknowledged()
        keys = re.findall(r'name="note_id"\s+value="(\d+)"', page)
        if not keys or self.choices.random() < 0.5:
            return
        pages.page("staff's order", path)
        key = max(map(int, keys))
        intent = ledger.intent("unnote", order=number, key=key, text=text)
        pages.submit("take note away", path, wanted="Note deleted", order_action="delete_note", note_id=key)
        ledger.acknowledge(intent)
        self.shop.clock.acknowledged()

    def _move(self, pages: Pages, path: str, number: str, page: str) -> None:
        offered = [state for state in PIPELINE.values() if f'value="{state}"' in page]
        if not offered:
            return
        intent = self.shop.ledger.intent("status", order=number, to=offered[0])
        fields = {"order_action": "change_order_status", "new_status": offered[0]}
        pages.submit("change status", path, wanted=f"to &#x27;{offered[0]}|to '{offered[0]}", **fields)
        self.shop.ledger.acknowledge(intent)
        self.shop.clock.acknowledged()


class Traffic:
    """Everybody, from `start` until `stop`."""

    def __init__(self, shop: Shop, people: Sequence[Person]) -> None:
        self.shop = shop
        self._people = people

    def start(self) -> None:
        for person in self._people:
            person.start()

    def stop(self) -> None:
        """Let every request in flight end, then close the ledger."""
        self.shop.stopping.set()
        for person in self._people:
            person.join(60.0)
            if person.is_alive():
                self.shop.tally.failure(
                    who=person.name, request="stop", expected="end in time", status=None, detail="still in a request"
                )
        self.shop.ledger.close()
