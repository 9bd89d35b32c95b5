"""One question, two ways to answer it: products ordered by a user, asked of the services now, or told by events before.

Both are measured in the demonstration's stack, one after the other in each round: how long an answer takes, how old it
is (from the acknowledgement of a purchase to the beginning of the first read that shows it), and how many answers are
whole while the database behind users, orders and catalogue lets nobody in.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx2
import psycopg
from psycopg import sql

from benchmarks.messaging.latency import percentile
from benchmarks.ratios import Ratio, Samples
from demo.__main__ import playground
from demo.companions import COMPANIONS, STREAMS, start_companions
from demo.processes import Supervisor
from demo.stack import Stack

WAYS = {"composed": "", "projected": "projected/"}
CUSTOMERS, BOUGHT = 5, 3
ASKED, ASKED_AWAY, PURCHASES = 200, 4, 15
STALE_MS = 2000.0  # the playbooks' gate: max_lag
PATIENCE_SECONDS = 30.0
SHUT = "ALTER DATABASE shop ALLOW_CONNECTIONS {}"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'"


class Customer:
    """Somebody with a few orders, who asks the gateway what they ever ordered."""

    def __init__(self, shop: str, gateway: str, number: int) -> None:
        self._client = httpx2.Client(base_url=shop, timeout=30)
        self._client.get("/api/csrf/")
        body = {"email": f"asks{number}@example.com", "password": "long enough to be taken"}
        self.user = self._post("/api/accounts/signup/", body | {"first_name": "A", "last_name": "B"})["id"]
        self._question = f"{gateway}/api/users/{self.user}/ordered-products/"
        self.products = [each["id"] for each in self._client.get("/api/products/").json()["results"]]
        self.bought: Counter[int] = Counter()

    def close(self) -> None:
        """Close the browser."""
        self._client.close()

    def buy(self) -> None:
        """Buy one of the next product."""
        product = int(self.products[self.bought.total() % len(self.products)])
        self._post("/api/orders/", {"lines": [{"product": product, "quantity": 1}], "shipping_address": {}})
        self.bought[product] += 1

    def ask(self, way: str) -> tuple[float, dict[int, int] | None]:
        """Milliseconds, and product → quantity; None for an answer that is not whole."""
        began = time.perf_counter()
        answer = self._client.get(self._question + WAYS[way])
        took = (time.perf_counter() - began) * 1000
        if answer.status_code != httpx2.codes.OK:
            return took, None
        document = answer.json()
        if "_errors" in document or any(row["name"] is None for row in document["products"]):
            return took, None
        return took, {row["product"]: row["quantity"] for row in document["products"]}

    def until_shown(self, way: str) -> float:
        """Milliseconds from now to the beginning of the first read that shows all that was bought, and no more."""
        acknowledged = time.perf_counter()
        while True:
            began = time.perf_counter()
            shown = self.ask(way)[1]
            if shown == self.bought:
                return (began - acknowledged) * 1000
            if began - acknowledged > PATIENCE_SECONDS:
                raise TimeoutError(f"{way}: not shown for {PATIENCE_SECONDS:.0f} s")

    def _post(self, path: str, body: Any) -> Any:
        token = self._client.cookies.get("csrftoken") or ""
        return self._client.post(path, json=body, headers={"X-CSRFToken": token}).raise_for_status().json()


def shopper(shop: str, gateway: str, number: int) -> Customer:
    """A customer with a few orders, which both ways show."""
    made = Customer(shop, gateway, number)
    for _ in range(BOUGHT):
        made.buy()
    for way in WAYS:
        made.until_shown(way)
    return made


@contextmanager
def customers(orders: int, say: Callable[[str], None]) -> Iterator[tuple[list[Customer], psycopg.Connection[Any]]]:
    """The stack of `make up` with so many seeded orders, customers, and who may shut databases."""
    with playground(keep=False) as supervisor, _stack(supervisor, say) as stack:
        stack.start(orders=orders, seed=1)
        start_companions(stack)
        gateway = f"http://127.0.0.1:{stack.addresses.services['gateway']}"
        with (
            psycopg.connect(stack.superuser_dsn("postgres"), autocommit=True) as superuser,
            ExitStack() as closing,
        ):
            asking = [shopper(stack.addresses.url, gateway, number) for number in range(CUSTOMERS)]
            for each in asking:
                closing.callback(each.close)
            yield asking, superuser


def _stack(supervisor: Supervisor, say: Callable[[str], None]) -> Stack:
    return Stack(supervisor, say=say, companions=tuple(COMPANIONS), relayed=STREAMS)


def answers_round(
    asking: list[Customer], superuser: psycopg.Connection[Any], found: Samples, *, asked: int, purchases: int
) -> None:
    """One round: latencies, ages, and answers while the shop's database, shut by the superuser, is away."""
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    ages: dict[str, list[float]] = {way: [] for way in WAYS}
    whole = dict.fromkeys(WAYS, 0)
    for number in range(asked):
        for way in WAYS:
            milliseconds, shown = asking[number % len(asking)].ask(way)
            whole[way] += shown is not None
            took[way].append(milliseconds)
    for number in range(purchases):
        for way in WAYS:
            one = asking[number % len(asking)]
            one.buy()
            ages[way].append(one.until_shown(way))
    for way in WAYS:
        for share in (50, 99):
            found.add(f"{way}, p{share}", percentile(took[way], share / 100))
        found.add(f"{way}, whole", whole[way] / asked)
        found.add(f"{way}, age p50", percentile(ages[way], 0.5))
        found.add(f"{way}, age at most", max(ages[way]))
    with shop_away(superuser):
        for way in WAYS:
            kept = [one.ask(way)[1] is not None for one in asking for _ in range(ASKED_AWAY)]
            found.add(f"{way}, whole while away", sum(kept) / len(kept))
    asking[0].until_shown("composed")


@contextmanager
def shop_away(superuser: psycopg.Connection[Any]) -> Iterator[None]:
    """Let nobody into the monolith's database for the block, as when its server is down."""
    superuser.execute(sql.SQL(SHUT).format(sql.SQL("false")))
    superuser.execute(END)
    try:
        yield
    finally:
        superuser.execute(sql.SQL(SHUT).format(sql.SQL("true")))


def answers_ratios(found: Samples) -> dict[str, Ratio]:
    """The projected answer to the composed one, its age to the playbooks' gate."""

    def latency(share: int) -> Ratio:
        asked, told = (found[f"{way}, p{share}"] for way in WAYS)
        return Ratio(measured=told, limit=asked, goal=1.0, better="lower", unit="ms", note="asked of three services")

    note = f"max_lag of the playbooks; the composed one: {found['composed, age p50']:.0f} ms"
    there = f"of all asked; the composed ones: {found['composed, whole']:.2f}"
    away = f"of all asked; the composed ones: {found['composed, whole while away']:.2f}"
    return {
        "products ordered, projected, p50": latency(50),
        "products ordered, projected, p99": latency(99),
        "age of the projected answer, p50": Ratio(
            measured=found["projected, age p50"], limit=STALE_MS, goal=1.0, better="lower", unit="ms", note=note
        ),
        "age of the projected answer, at most": Ratio(
            measured=found["projected, age at most"], limit=STALE_MS, goal=1.0, better="lower", unit="ms", note=note
        ),
        "whole answers": Ratio(
            measured=found["projected, whole"], limit=1.0, goal=1.0, better="higher", unit="share", note=there
        ),
        "whole answers while the shop is away": Ratio(
            measured=found["projected, whole while away"], limit=1.0, goal=1.0, better="higher", unit="share", note=away
        ),
    }
