"""Customers buy from three services that are killed and go deaf: lines, stock and money are conserved all the same."""

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
STROKES = 4


@pytest.fixture(scope="module")
def services(cluster: EmbeddedPostgres) -> Iterator[Shop]:
    """The three services, for both ways of carrying a checkout through."""
    with opened(cluster) as shop:
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


def strike(shop: Shop, dice: random.Random, pause: threading.Event) -> None:
    """One misfortune: a service is killed and started again, deaf for a while, or all its connections end."""
    name = dice.choice(NAMES)
    match dice.choice(("kill", "kill", "deaf", "cut")):
        case "kill":
            shop.kill(name)
            pause.wait(dice.uniform(0.0, 0.5))
            shop.begin(shop.kind)
        case "deaf":
            shop.wires[name].deafen()
            pause.wait(dice.uniform(0.5, 2.0))
            shop.wires[name].hear()
        case "cut":
            shop.wires[name].cut()
    pause.wait(dice.uniform(0.1, 0.5))


def test_whatever_is_killed_or_deaf_every_purchase_is_whole_or_was_never_made(services: Shop) -> None:
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
        for wire in shop.wires.values():
            calm.callback(wire.hear)
        for kind in KINDS:
            shop.begin(kind)
            for _ in range(STROKES):
                strike(shop, dice, pause)
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
