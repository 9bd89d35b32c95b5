"""The order saga over orders, inventory and payments as services, conducted and by events: all of it or nothing."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from migration_tools.testing.postgres import EmbeddedPostgres
from tests.document_server import mongodb_url
from tests.races.scene import until
from tests.services.depots import DOCUMENTS, ROWS, database_url
from tests.services.rig import RunningService
from tests.services.shop import SECONDS, Shop, opened

pytest_plugins = ["tests.services.rig"]

SHELVED = """
    WITH made AS (INSERT INTO shelf_category (title) VALUES ('Things ' || %s) RETURNING id)
    INSERT INTO shelf_product (id, code, title, price_cents, currency, category_id, features, on_sale)
    OVERRIDING SYSTEM VALUE SELECT %s, 'S' || %s, 'A thing', 1500, 'EUR', id, '{}', true FROM made
"""

# Both kinds pass the same scenarios; the second takes as long as the first.
KINDS = ["orchestrated", pytest.param("choreographed", marks=pytest.mark.thorough)]


@pytest.fixture(scope="module", params=[ROWS, pytest.param(DOCUMENTS, marks=pytest.mark.thorough)])
def services(cluster: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """The three services, once for each engine of the stock; tests use products and customers of their own."""
    with ExitStack() as stack:
        url = ""
        if request.param == DOCUMENTS:
            url = database_url(stack.enter_context(mongodb_url()), f"shop_{os.urandom(4).hex()}")
        yield stack.enter_context(opened(cluster, documents=url))


@pytest.fixture(params=KINDS, scope="module")
def shop(services: Shop, request: pytest.FixtureRequest) -> Shop:
    """The same, with checkouts carried through in either way."""
    services.begin(request.param)
    return services


def test_a_purchase_is_reserved_paid_and_an_order_under_its_own_id(shop: Shop) -> None:
    product, customer = shop.product(10), shop.customer()
    bought = shop.buy(customer, product)
    assert bought is not None
    assert shop.ended(bought) == "confirmed"
    assert shop.shelf(product) == (8, 0)
    assert shop.balance(customer) == "30.00"
    with shop.browser("orders", customer) as browser:
        order = browser.get(f"/api/orders/{bought}/").json()
    assert (order["status"], order["total"], order["lines"][0]["quantity"]) == ("paid", "30.00", 2)


def test_without_stock_nobody_pays_and_there_is_no_order(shop: Shop) -> None:
    product, customer = shop.product(1), shop.customer()
    bought = shop.buy(customer, product)
    assert bought is not None
    assert shop.ended(bought) == "cancelled"
    assert (shop.shelf(product), shop.balance(customer)) == ((1, 0), "0.00")
    assert shop.one("orders", "SELECT count(*) FROM sales_order WHERE customer_id = %s", customer) == 0


def test_who_may_not_pay_that_much_gets_nothing_and_the_stock_is_free_again(shop: Shop) -> None:
    product, customer = shop.product(10), shop.customer(limit="45.00")
    first, second = (shop.buy(customer, product) for _ in range(2))
    assert first is not None
    assert second is not None
    assert sorted((shop.ended(first), shop.ended(second))) == ["cancelled", "confirmed"]
    assert (shop.shelf(product), shop.balance(customer)) == ((8, 0), "30.00")


@pytest.mark.thorough
def test_while_payments_are_away_purchases_are_pending_and_one_is_withdrawn(shop: Shop) -> None:
    """No isolation: the last step reads the checkout again, and gives back what was taken for one withdrawn."""
    product, customer, patient = shop.product(10), shop.customer(), shop.customer()
    shop.kill("payments")
    bought, kept = shop.buy(customer, product), shop.buy(patient, product, 1)
    assert bought is not None
    assert kept is not None
    until(lambda: shop.shelf(product) == (10, 3), "both are reserved", SECONDS)
    assert shop.state(kept) == "pending"
    with shop.browser("orders", customer) as browser:
        assert browser.post(f"/api/orders/checkouts/{bought}/withdraw/").json()["status"] == "withdrawn"
    shop.begin(shop.kind)
    assert (shop.ended(bought), shop.ended(kept)) == ("cancelled", "confirmed")
    assert (shop.shelf(product), shop.balance(customer), shop.balance(patient)) == ((9, 0), "0.00", "15.00")
    refunds = "SELECT status FROM billing_payment WHERE payer_id = %s"
    assert shop.one("payments", refunds, customer) == "refunded"
    with shop.browser("orders", customer) as browser:
        assert browser.post(f"/api/orders/checkouts/{bought}/withdraw/").status_code == 409


@pytest.mark.thorough
def test_while_the_payments_database_is_away_orders_are_accepted_and_the_catalogue_is_served(
    shop: Shop, running: Callable[[str], RunningService]
) -> None:
    """One database less is one service less: purchases are pending, and confirmed when it is back."""
    product, customer, catalog = shop.product(10), shop.customer(), running("catalog")
    catalog.rows(SHELVED, product, product, product)
    with shop.database_away("payments"):
        until(lambda: shop.ready("payments") == 503, "payments have no database", SECONDS)
        bought = shop.buy(customer, product)
        assert bought is not None, "the order is accepted"
        until(lambda: shop.shelf(product) == (10, 2), "it is reserved", SECONDS)
        with catalog.browser(None) as browser:
            pages = ("/api/products/", f"/api/products/{product}/")
            assert [browser.get(page).status_code for page in pages] == [200, 200]
        assert (shop.ready("orders"), shop.ready("inventory")) == (200, 200)
        with shop.browser("orders", customer) as browser:
            assert browser.get(f"/api/orders/checkouts/{bought}/").json()["status"] == "pending"
        assert shop.one("payments", "SELECT count(*) FROM billing_payment WHERE payer_id = %s", customer) == 0
    assert shop.ended(bought) == "confirmed"
    assert (shop.shelf(product), shop.balance(customer)) == ((8, 0), "30.00")
    assert shop.ready("payments") == 200, "the process has come through it"


# Where a service dies, and whether the checkout in its hands may be paid.
POINTS = {
    "orchestrated": ("payments", "sagas.effect_written", True),
    "choreographed": ("inventory", "sagas.reacted", False),
}


@pytest.mark.thorough
def test_a_service_killed_in_the_middle_of_its_step_takes_and_gives_nothing_twice(shop: Shop) -> None:
    name, point, payable = POINTS[shop.kind]
    product, customer = shop.product(10), shop.customer(limit=None if payable else "10.00")
    victim = shop.start(name, STRANGLE_POINTS=f"{point}=kill")
    shop.begin(shop.kind)
    bought = shop.buy(customer, product)
    assert bought is not None
    assert victim.wait(SECONDS) == -signal.SIGKILL
    shop.kill(name)
    shop.begin(shop.kind)
    assert shop.ended(bought) == ("confirmed" if payable else "cancelled")
    assert shop.balance(customer) == ("30.00" if payable else "0.00")
