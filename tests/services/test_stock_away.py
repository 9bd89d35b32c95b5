"""While MongoDB is away, checkouts wait for the stock and nothing is parked; when it is back they go on."""

import os
from collections.abc import Iterator

import pytest

from migration_tools.testing.mongodb import EmbeddedMongo
from migration_tools.testing.postgres import EmbeddedPostgres
from tests.races.scene import until
from tests.services.depots import database_url
from tests.services.shop import SECONDS, Shop, opened

pytest_plugins = ["tests.services.rig"]
pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def stores() -> Iterator[EmbeddedMongo]:
    """A MongoDB that can be stopped: one for this file, whatever MONGODB_URL names."""
    with EmbeddedMongo() as server:
        yield server


@pytest.fixture(scope="module")
def shop(cluster: EmbeddedPostgres, stores: EmbeddedMongo) -> Iterator[Shop]:
    with opened(cluster, documents=database_url(stores.url, f"away_{os.urandom(4).hex()}")) as made:
        yield made


@pytest.mark.parametrize("kind", ["orchestrated", "choreographed"])
def test_a_checkout_waits_for_the_stock_and_is_confirmed_when_it_is_back(
    shop: Shop, stores: EmbeddedMongo, kind: str
) -> None:
    shop.begin(kind)
    product, customer = shop.product(10), shop.customer()
    stores.kill()
    try:
        until(lambda: shop.ready("inventory") == 503, "the stock is away", SECONDS)
        with shop.browser("inventory", customer) as browser:
            assert browser.get(f"/api/stock/{product}/").status_code == 503
        assert (shop.ready("orders"), shop.ready("payments")) == (200, 200)
        bought = shop.buy(customer, product)
        assert bought is not None, "the order is accepted"
        claimed = "SELECT count(*) FROM pg_locks WHERE relation = 'saga_step'::regclass"
        until(lambda: shop.one("inventory", claimed), "the step has begun, and waits for MongoDB", SECONDS)
        until(lambda: not shop.one("inventory", claimed), "it waited in vain", SECONDS)
        assert shop.state(bought) == "pending"
    finally:
        stores.start()
    assert shop.ended(bought) == "confirmed"
    assert (shop.shelf(product), shop.balance(customer)) == ((8, 0), "30.00")
    assert shop.one("inventory", "SELECT count(*) FROM strangle_dead_letter") == 0
    failed = "SELECT count(*) FROM strangle_outbox WHERE aggregate_id = %s AND payload->>'outcome' = 'failed'"
    assert shop.one("inventory", failed, bought) == 0, "the machine failed, not the step"
