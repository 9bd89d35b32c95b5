"""The shop's plain pages, its health addresses, and its settings."""

import re
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from legacy_monolith.accounts.models import User
from legacy_monolith.testing import Shopper, make_product
from migration_tools.capture.models import Ownership, Side

pytestmark = pytest.mark.django_db


def submit(client: Client, page: str, fields: dict[str, Any], action: str | None = None) -> Any:
    """Fill in the form of a page with the token that the page carries."""
    shown = client.get(page)
    assert shown.status_code == 200, shown
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown.content.decode())
    assert found is not None
    return client.post(action or page, fields | {"csrfmiddlewaretoken": found[1]})


@pytest.fixture
def browser() -> Client:
    return Client(enforce_csrf_checks=True)


def test_a_visitor_signs_up_fills_the_cart_and_sees_the_checkout(browser: Client) -> None:
    product = make_product(name="Lamp <script>alert(1)</script>")
    names = {"first_name": "Ada", "last_name": "Lovelace"}
    signed_up = submit(browser, "/signup/", names | {"email": "ada@example.com", "password": "long enough"})
    assert (signed_up.status_code, signed_up["location"]) == (302, "/")
    added = submit(browser, "/", {"product": product.pk, "action": "add", "page": "1"}, action="/cart/")
    assert added["location"] == "/?page=1"
    submit(browser, "/", {"product": product.pk, "action": "add"}, action="/cart/")
    page = browser.get("/checkout/").content.decode()
    assert "24.68" in page
    assert f'[{{"product": {product.pk}, "quantity": 2}}]' in page
    assert "<script>alert(1)" not in page
    removed = submit(browser, "/checkout/", {"product": product.pk, "action": "remove"}, action="/cart/")
    assert removed["location"] == "/checkout/"
    assert "Your cart is empty" in browser.get("/checkout/").content.decode()


def test_pages_of_orders_fetch_the_api_so_that_any_side_may_answer(browser: Client) -> None:
    browser.force_login(User.objects.create_user("ada@example.com", "long enough"))
    page = browser.get("/orders/")
    assert "csrftoken" in page.cookies
    text = page.content.decode()
    assert "/api/orders/?page=" in text
    assert 'headers["X-CSRFToken"]' in text


def test_a_purchase_is_a_checkout_where_orders_stock_and_payments_have_all_left(browser: Client, settings: Any) -> None:
    """Anything less takes the two roads of before; what is pending is shown wherever the orders have left."""
    browser.force_login(User.objects.create_user("ada@example.com", "long enough"))
    submit(browser, "/", {"product": make_product().pk, "action": "add"}, action="/cart/")

    def shown() -> tuple[bool, bool]:
        checkout, orders = (browser.get(page).content.decode() for page in ("/checkout/", "/orders/"))
        return 'data-to="/api/orders/checkouts/"' in checkout, 'id="purchases"' in orders

    settings.CHECKOUTS = True
    assert shown() == (False, False)
    for context, expected in (("orders", (False, True)), ("inventory", (False, True)), ("payments", (True, True))):
        Ownership.objects.create(context=context, side=Side.SOURCE, owner=Side.TARGET)
        assert shown() == expected
    settings.CHECKOUTS = False
    assert shown() == (False, True), "without the processes that carry it through, nothing would"


def test_a_customer_logs_in_by_any_case_of_the_address_and_out_again(browser: Client) -> None:
    User.objects.create_user("ada@example.com", "long enough")
    wrong = submit(browser, "/login/", {"username": "ada@example.com", "password": "wrong"})
    assert wrong.status_code == 200
    right = submit(browser, "/login/?next=/orders/", {"username": "ADA@example.com", "password": "long enough"})
    assert right["location"] == "/orders/"
    assert submit(browser, "/", {}, action="/logout/")["location"] == "/"
    assert browser.get("/orders/")["location"] == "/login/?next=/orders/"


def test_a_taken_address_is_told_on_the_page(browser: Client) -> None:
    User.objects.create_user("ada@example.com", "long enough")
    fields = {"first_name": "A", "last_name": "", "email": "ada@example.com", "password": "x"}
    assert "is taken" in submit(browser, "/signup/", fields).content.decode()


@pytest.mark.parametrize("path", ["/cart/", "/login/", "/signup/", "/logout/"])
def test_a_form_without_the_csrf_token_is_refused(browser: Client, path: str) -> None:
    browser.get("/")
    assert browser.post(path, {"action": "clear"}).status_code == 403


@pytest.mark.parametrize("fields", [{}, {"action": "add"}, {"action": "steal", "product": "1"}])
def test_a_cart_refuses_what_it_does_not_know(browser: Client, fields: dict[str, str]) -> None:
    make_product()
    assert submit(browser, "/", fields, action="/cart/").status_code == 400


def test_checkout_and_orders_ask_for_a_login(browser: Client) -> None:
    for path in ("/checkout/", "/orders/"):
        assert browser.get(path)["location"] == f"/login/?next={path}"


def test_unknown_addresses_are_problems_below_the_api_and_pages_elsewhere(browser: Client) -> None:
    below = browser.get("/api/nothing/")
    assert (below.status_code, below["content-type"]) == (404, "application/problem+json")
    assert browser.get("/nothing/")["content-type"].startswith("text/html")


def test_health_answers_without_a_session(django_assert_num_queries: Any) -> None:
    client = Client()
    with django_assert_num_queries(0):
        assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert not client.cookies


def test_the_identity_of_a_customer_travels_in_a_cookie_and_leaves_with_the_logout() -> None:
    shopper = Shopper().sign_up()
    assert shopper.client.cookies["sx_identity"].value
    shopper.call("POST", "/api/accounts/logout/")
    assert not shopper.client.cookies["sx_identity"].value


def test_the_schema_migrations_are_complete() -> None:
    apps = ("accounts", "catalog", "orders", "inventory", "payments", "reporting")
    call_command("makemigrations", *apps, check=True, dry_run=True, verbosity=0)
