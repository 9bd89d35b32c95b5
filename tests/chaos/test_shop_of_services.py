"""Customers buy from three services whose processes and databases fail: lines, stock and money are conserved."""

import contextlib
import os
import random
import threading
from collections.abc import Iterator

import pytest

from migration_tools.testing.postgres import EmbeddedPostgres
from tests.services.shop import NAMES, Shop, opened

pytestmark = pytest.mark.thorough

SEED = int(os.environ.get("SHOP_STORM_SEED", "20261"))
KINDS = ("orchestrated", "choreographed")
CUSTOMERS, PRODUCTS, ON_HAND, LIMIT = 6, 3, 20, 90
BLOWS = ("killed", "deaf", "cut", "its database is slow", "its database is away", "all databases crash")


@pytest.fixture(scope="module")
def services() -> Iterator[Shop]:
    """The three services, for both ways of carrying a checkout through, on a server of their own: it will crash."""
    with EmbeddedPostgres() as own, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRANGLE_TEST_PG_PORT", str(own.port))
        patch.setenv("STRANGLE_TEST_PG_PASSWORD", own.password)
        with opened(own) as shop:
            yield shop


class Shopper(threading.Thread):
    """A customer who buys all the time; remembers what was acknowledged, and that some answers never came."""

    def __init__(self, shop: Shop, seed: int, products: list[int], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.shop, self.products, self.stop = shop, products, stop
        self.dice = random.Random(seed)
        # Half of them may pay for a few things only.
        self.customer = shop.customer(limit=f"{LIMIT}.00" if seed % 2 else None)
        self.acknowledged: list[str] = []
        self.unknown = 0

    def run(self) -> None:
        """Buy until it is over; a customer whose answer does not come gives up after two seconds."""
        while not self.stop.wait(self.dice.uniform(0.05, 0.3)):
            bought = self.shop.buy(self.customer, self.dice.choice(self.products), self.dice.randint(1, 3), seconds=2)
            if bought is None:
                self.unknown += 1
            else:
                self.acknowledged.append(bought)


def strike(shop: Shop, blow: str, dice: random.Random, pause: threading.Event) -> None:
    """One misfortune of one service, or of all: it ends after a while."""
    name = dice.choice(NAMES)
    match blow:
        case "killed":
            shop.kill(name)
            pause.wait(dice.uniform(0.0, 0.5))
            shop.begin(shop.kind)
        case "deaf" | "its database is slow":
            wire = (shop.wires if blow == "deaf" else shop.database_wires)[name]
            wire.deafen()
            pause.wait(dice.uniform(0.5, 2.0))
            wire.hear()
        case "cut":
            shop.wires[name].cut()
        case "its database is away":
            with shop.database_away(name):
                pause.wait(dice.uniform(0.2, 1.0))
        case "all databases crash":
            shop.crash_databases()
    pause.wait(dice.uniform(0.1, 0.5))


def test_whatever_is_killed_deaf_or_crashes_every_purchase_is_whole_or_was_never_made(services: Shop) -> None:
    """First with a conductor, then by events alone, which those under way from before do not mind."""
    shop = services
    shop.begin(KINDS[0])
    dice, pause = random.Random(SEED), threading.Event()
    products = [shop.product(ON_HAND) for _ in range(PRODUCTS)]
    stop = threading.Event()
    shoppers = [Shopper(shop, number, products, stop) for number in range(CUSTOMERS)]
    for shopper in shoppers:
        shopper.start()
    with contextlib.ExitStack() as calm:
        calm.callback(stop.set)
        for wire in (*shop.wires.values(), *shop.database_wires.values()):
            calm.callback(wire.hear)
        for kind in KINDS:
            shop.begin(kind)
            for blow in dice.sample(BLOWS, len(BLOWS)):
                strike(shop, blow, dice, pause)
    for shopper in shoppers:
        shopper.join(30)
        assert not shopper.is_alive()
    shop.begin(shop.kind)
    shop.rest()
    assert shop.faults() == [], SEED
    acknowledged = [bought for shopper in shoppers for bought in shopper.acknowledged]
    assert len(set(acknowledged)) == len(acknowledged)
    states = {bought: shop.state(bought) for bought in acknowledged}
    assert set(states.values()) == {"confirmed", "cancelled"}, SEED
    for bought, state in states.items():
        orders = shop.one("orders", "SELECT count(*) FROM sales_order WHERE public_id = %s", bought)
        assert orders == (1 if state == "confirmed" else 0), bought
    sold = "SELECT coalesce(sum(qty), 0) FROM sales_orderitem WHERE product_id = %s"
    for product in products:
        assert shop.shelf(product) == (ON_HAND - shop.one("orders", sold, product), 0), product
    for shopper in shoppers[1::2]:
        assert float(shop.balance(shopper.customer)) <= LIMIT
