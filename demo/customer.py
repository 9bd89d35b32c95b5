"""A customer: what one signed-up person does in the shop, each write entered in the ledger first."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from demo.book import OUTCOMES
from demo.browser import Browser, Refused, RequestFailed
from demo.gaps import WriteClock
from demo.ledger import Ledger
from demo.tally import Tally

PAGE_SIZE = 20
TEXTS = (
    None,
    "",
    "ring twice",
    "für Zoë — mit Grüßen",
    "贈り物 🎁",
    "e\u0301 is not é",
    '50% off; it\'s "fine" \\ done',
    "  ",
)
STREETS = ("Rue de l'Église 5", "Große Allee 12b", "ул. Ленина 3", "1 Main St", "通り 7")
FIRST_NAMES = ("Ana", "Zoë", "Łukasz", "Noor", "José", "Mary Ann", "李")
LAST_NAMES = ("Smith", "O'Brien", "Müller", "van der Berg", "Nguyễn", "García", "王")

Order = dict[str, Any]


class Customer:
    """Knows what it bought, so that every later answer can be compared with what was acknowledged."""

    def __init__(
        self, *, url: str, name: str, choices: random.Random, tally: Tally, ledger: Ledger, clock: WriteClock
    ) -> None:
        self.name = name
        self.choices = choices
        self.orders: list[Order] = []
        self._browser = Browser(url, tally, name)
        self._tally = tally
        self._ledger = ledger
        self._clock = clock
        self._products: dict[int, Any] = {}
        self._pages = 1
        self._purchases = 0
        self._unsure = False
        self.user = 0

    def close(self) -> None:
        self._browser.close()

    def sign_up(self) -> None:
        self._browser.fetch_token()
        body = {
            "email": f"{self.name}@example.test",
            "password": f"long enough for {self.name}",
            "first_name": self.choices.choice(FIRST_NAMES),
            "last_name": self.choices.choice(LAST_NAMES),
        }
        number = self._ledger.intent("sign up", name=f"{body['first_name']} {body['last_name']}")
        self.user = self._browser.write("sign up", "POST", "/api/accounts/signup/", body, expected=201)["id"]
        self._ledger.acknowledge(number, user=self.user)

    def browse(self) -> None:
        page = self._browser.get("browse", "/api/products/", page=self.choices.randint(1, self._pages))
        self._pages = max(1, min(10, page["count"] // max(len(page["results"]), 1)))
        self._products.update({product["id"]: product for product in page["results"]})

    def look_closer(self) -> None:
        if not self._products:
            return self.browse()
        product = self.choices.choice(sorted(self._products))
        self._browser.get("product", f"/api/products/{product}/")

    def purchase(self) -> Order | None:
        """Buy a few products; give the order, or None when they were sold out."""
        if not self._products:
            self.browse()
        self._purchases += 1
        reference = f"{self.name}-{self._purchases}"
        chosen = self._basket()
        lines = [(product, self.choices.randint(1, 3)) for product in chosen]
        body = {
            "client_reference": reference,
            "note": self.choices.choice(TEXTS),
            "shipping_address": self._address(),
            "lines": [
                {"product": product, "quantity": quantity, "gift_message": self.choices.choice(TEXTS)}
                for product, quantity in lines
            ],
        }
        number = self._ledger.intent("purchase", reference=reference, user=self.user, lines=lines)
        order: Order | None = self._write(number, "purchase", "POST", "/api/orders/", body, expected=201)
        if order is None:
            return None
        self._ledger.acknowledge(number, order=order["id"], total=order["total"], state=order["status"])
        self.orders.append(order)
        if order["client_reference"] != reference or order["note"] != body["note"]:
            self._browser.complain("purchase", f"{body!r}", f"{order!r}")
        return order

    def move(self, operation: str, order: Order) -> Order | None:
        """Pay, ship or cancel ``order``; the acknowledged state is remembered and entered."""
        number = self._ledger.intent(operation, order=order["id"])
        answer: Order | None = self._write(number, operation, "POST", f"/api/orders/{order['id']}/{operation}/", None)
        if answer is None:
            return None
        self._ledger.acknowledge(number, state=answer["status"])
        self._remember(answer)
        if answer["status"] != OUTCOMES[operation]:
            self._browser.complain(operation, OUTCOMES[operation], answer["status"])
        return answer

    def read_own(self, order: Order) -> None:
        """Read one order: it must be exactly as it was last acknowledged."""
        found = self._browser.get("read order", f"/api/orders/{order['id']}/")
        self._compare("read order", order, found)

    def list_own(self) -> None:
        """List the newest orders: all of them must be there, as last acknowledged."""
        page = self._browser.get("list orders", "/api/orders/")
        if self._unsure:
            return
        expected = list(reversed(self.orders))[:PAGE_SIZE]
        if [order["id"] for order in page["results"]] != [order["id"] for order in expected]:
            self._browser.complain(
                "list orders",
                str([order["id"] for order in expected]),
                str([order["id"] for order in page["results"]]),
            )
        for order, found in zip(expected, page["results"], strict=True):
            self._compare("list orders", order, found)

    def change_device(self) -> None:
        """Read on as a visitor whom the proxy has not seen."""
        self._browser.be_another_visitor()

    def ordered_products(self) -> None:
        """Every product ever ordered, summed: exactly what this customer bought."""
        rows = self._browser.get("ordered products", "/api/orders/products/")
        found = [(row["product"], row["quantity"]) for row in rows]
        bought: Counter[int] = Counter()
        for order in self.orders:
            bought.update({line["product"]: line["quantity"] for line in order["lines"]})
        if found != sorted(bought.items()) and not self._unsure:
            self._browser.complain("ordered products", f"{sorted(bought.items())}", f"{found}")

    def look_at_stock(self) -> None:
        if not self._products:
            return self.browse()
        self._browser.get("stock", f"/api/stock/{self.choices.choice(sorted(self._products))}/")

    def own_payments(self) -> None:
        """Payments follow the orders by events, so the newest may not be there yet; none may be of somebody else."""
        page = self._browser.get("payments", "/api/payments/")
        strangers = {row["order"] for row in page["results"]} - {order["id"] for order in self.orders}
        if strangers and not self._unsure:
            self._browser.complain("payments", "payments of own orders", f"{sorted(strangers)}")

    def look_at_oneself(self) -> None:
        found = self._browser.get("oneself", "/api/accounts/me/")
        if found["id"] != self.user:
            self._browser.complain("oneself", f"customer {self.user}", f"{found}")

    def rename(self) -> None:
        first, last = self.choices.choice(FIRST_NAMES), self.choices.choice(LAST_NAMES)
        number = self._ledger.intent("rename", user=self.user, name=f"{first} {last}")
        body = {"first_name": first, "last_name": last}
        if self._write(number, "rename", "PATCH", "/api/accounts/me/", body) is not None:
            self._ledger.acknowledge(number)

    def in_state(self, *states: str) -> list[Order]:
        return [order for order in self.orders if order["status"] in states]

    def _write(self, number: int, name: str, method: str, path: str, body: Any, *, expected: int = 200) -> Any:
        refusals = (409,) if name == "purchase" else ()
        try:
            answer = self._browser.write(name, method, path, body, expected=expected, refusals=refusals)
        except Refused as refused:
            self._ledger.refuse(number, refused.detail)
            self._tally.event("sold out")
            return None
        except RequestFailed:
            self._unsure = True
            raise
        self._clock.acknowledged()
        return answer

    def _basket(self) -> list[int]:
        """Choose up to three products priced in one currency: the shop takes no mixed orders."""
        first = self._products[self.choices.choice(sorted(self._products))]
        like = sorted(key for key, product in self._products.items() if product["currency"] == first["currency"])
        return self.choices.sample(like, min(self.choices.randint(1, 3), len(like)))

    def _remember(self, answer: Order) -> None:
        self.orders = [answer if order["id"] == answer["id"] else order for order in self.orders]

    def _compare(self, request: str, expected: Order, found: Order) -> None:
        """The customer's name may lag behind a rename; everything else must be equal."""
        differing = sorted(
            name
            for name in expected.keys() | found.keys()
            if name != "customer" and expected.get(name) != found.get(name)
        )
        if differing and not self._unsure:
            self._browser.complain(
                request,
                f"own write: {[(name, expected.get(name)) for name in differing]}",
                f"order {expected['id']}: {[(name, found.get(name)) for name in differing]}",
            )

    def _address(self) -> dict[str, Any]:
        return {
            "street": self.choices.choice(STREETS),
            "city": "Łódź",
            "zip": f"{self.choices.randint(0, 99999):05}",
            "floor": self.choices.choice((None, 0, 3, -1)),
            "geo": [self.choices.randint(-90, 90) / 7, self.choices.choice((0.1, 1e-7, 100.0))],
            "tags": self.choices.choice(([], ["gift"], {"b": 1, "a": {"": None}})),
        }
