"""Customers buy from three services whose processes, databases and broker fail: lines, stock, money are conserved."""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from migration_tools.testing import brokers
from tests.chaos.shopping import TRANSPORTS, Shopper, Town, blows_of, heal, shop_over, strike, violations
from tests.services.shop import NAMES, Shop

pytestmark = pytest.mark.thorough

SEED = int(os.environ.get("SHOP_STORM_SEED", "20261"))
KINDS = ("orchestrated", "choreographed")
CUSTOMERS = 6
WITHOUT_RABBIT = pytest.mark.skipif(not brokers.RABBITMQ_SCRIPT.exists(), reason=brokers.RABBITMQ_MISSING)


@pytest.fixture(params=[pytest.param(each, marks=[WITHOUT_RABBIT] * (each == "rabbitmq")) for each in TRANSPORTS])
def services(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """The three services, their events over the feed or a broker."""
    with shop_over(request.param) as shop:
        yield shop


def test_whatever_is_killed_deaf_or_crashes_every_purchase_is_whole_or_was_never_made(services: Shop) -> None:
    """First with a conductor, then by events alone, which those under way from before do not mind."""
    shop = services
    shop.begin(KINDS[0])
    dice, pause = random.Random(SEED), threading.Event()
    town = Town.of(shop, products=3, on_hand=20, customers=CUSTOMERS, limit=90)
    stop = threading.Event()
    shoppers = [Shopper(shop, town, number, lambda: not stop.is_set()) for number in range(CUSTOMERS)]
    for shopper in shoppers:
        shopper.start()
    with ExitStack() as calm:
        calm.callback(stop.set)
        calm.callback(heal, shop)
        for kind in KINDS:
            shop.begin(kind)
            for blow in dice.sample(blows_of(shop), len(blows_of(shop))):
                strike(shop, blow, dice, pause)
    for shopper in shoppers:
        shopper.join(30)
        assert not shopper.is_alive()
    shop.begin(shop.kind)
    shop.rest()
    assert violations(shop, town, shoppers) == [], SEED
    states = {shop.state(bought) for shopper in shoppers for bought in shopper.acknowledged}
    assert states == {"confirmed", "cancelled"}, SEED
    # What the broker confirmed; a shop over the feed has nothing there.
    sent = "SELECT coalesce(max(position), 0) > 0 FROM strangle_transport"
    assert {shop.one(name, sent) for name in NAMES} == {shop.broker is not None}
