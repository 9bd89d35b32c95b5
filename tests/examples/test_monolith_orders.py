"""The shop's catalogue and orders over HTTP: purchase, transitions, and what they leave in the database."""

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections

from legacy_monolith.accounts.models import User
from legacy_monolith.inventory.models import Movement, Stock
from legacy_monolith.orders.models import Order, OrderLine
from legacy_monolith.payments.models import Payment
from legacy_monolith.testing import Shopper, make_product
from migration_tools.messaging.models import Outbox

pytestmark = pytest.mark.django_db


def published() -> list[tuple[str, dict[str, Any]]]:
    return list(Outbox.objects.filter(stream="orders").order_by("seq").values_list("event_type", "payload"))


def test_products_are_listed_in_pages_without_the_inactive_ones() -> None:
    products = [make_product(attributes={"colour": "grün"}) for _ in range(21)]
    hidden = make_product(active=False)
    first = Shopper().get("/api/products/").json()
    assert (first["count"], first["previous"], len(first["results"])) == (21, None, 20)
    assert first["results"][0] == {
        "id": products[0].pk,
        "sku": products[0].sku,
        "name": products[0].name,
        "price": "12.34",
        "currency": "EUR",
        "category": "Books",
        "attributes": {"colour": "grün"},
    }
    second = Shopper().get(first["next"]).json()
    assert [row["id"] for row in second["results"]] == [products[20].pk]
    assert Shopper().get(f"/api/products/{hidden.pk}/").json()["name"] == hidden.name
    missing = Shopper().get("/api/products/99999999999999999999999/")
    assert (missing.status_code, missing["content-type"]) == (404, "application/problem+json")


def test_a_purchase_writes_order_lines_stock_payment_and_event_together() -> None:
    shopper = Shopper().sign_up("Ada", "Lovelace")
    one, two = make_product("12.34"), make_product("0.10")
    answer = shopper.call(
        "POST",
        "/api/orders/",
        {
            "client_reference": "r-1",
            "note": " keep my spaces ",
            "shipping_address": {"city": "Köln", "deep": [None, {"x": None}], "n": 1.5},
            "lines": [
                {"product": two.pk, "quantity": 3, "gift_message": "🎁"},
                {"product": one.pk, "quantity": 1, "gift_message": None},
                {"product": two.pk, "quantity": 2},
            ],
        },
    )
    assert answer.status_code == 201
    order = Order.objects.get()
    placed_at = answer.json()["placed_at"]
    assert dt.datetime.fromisoformat(placed_at) == order.placed_at
    assert answer.json() == {
        "id": str(order.public_id),
        "status": "placed",
        "customer": {"id": shopper.id, "name": "Ada Lovelace"},
        "total": "12.84",
        "discount": None,
        "currency": "EUR",
        "note": " keep my spaces ",
        "client_reference": "r-1",
        "shipping_address": {"city": "Köln", "deep": [None, {"x": None}], "n": 1.5},
        "placed_at": placed_at,
        "paid_at": None,
        "lines": [
            {"product": two.pk, "name": two.name, "quantity": 3, "unit_price": "0.10", "gift_message": "🎁"},
            {"product": one.pk, "name": one.name, "quantity": 1, "unit_price": "12.34", "gift_message": None},
            {"product": two.pk, "name": two.name, "quantity": 2, "unit_price": "0.10", "gift_message": None},
        ],
    }
    assert dict(Stock.objects.values_list("product_id", "on_hand")) == {one.pk: 9, two.pk: 5}
    assert set(Movement.objects.values_list("product_id", "order_id", "delta", "reason")) == {
        (one.pk, order.pk, -1, "ordered"),
        (two.pk, order.pk, -5, "ordered"),
    }
    assert list(Payment.objects.values_list("order_id", "amount", "status")) == [(order.pk, order.total, "authorised")]
    assert User.objects.get(pk=shopper.id).last_order_id == order.pk
    assert published() == [
        (
            "order.placed",
            {
                "order_id": order.pk,
                "public_id": str(order.public_id),
                "user_id": shopper.id,
                "total": "12.84",
                "currency": "EUR",
                "lines": [
                    {"product": two.pk, "quantity": 3},
                    {"product": one.pk, "quantity": 1},
                    {"product": two.pk, "quantity": 2},
                ],
            },
        )
    ]


def assert_nothing_was_written() -> None:
    assert published() == []
    for model in (Order, OrderLine, Payment, Movement):
        assert not model.objects.exists(), model
    assert set(Stock.objects.values_list("on_hand", flat=True)) <= {10}


def test_a_purchase_beyond_the_stock_is_a_conflict_and_leaves_nothing() -> None:
    shopper = Shopper().sign_up()
    plenty, scarce = make_product(), make_product()
    lines = [{"product": plenty.pk, "quantity": 10}, {"product": scarce.pk, "quantity": 11}]
    answer = shopper.call("POST", "/api/orders/", {"lines": lines})
    assert (answer.status_code, answer["content-type"]) == (409, "application/problem+json")
    assert str(scarce.pk) in answer.json()["detail"]
    assert_nothing_was_written()


def test_lines_of_one_product_are_counted_together_against_the_stock() -> None:
    product = make_product()
    lines = [{"product": product.pk, "quantity": 6}] * 2
    assert Shopper().sign_up().call("POST", "/api/orders/", {"lines": lines}).status_code == 409
    assert_nothing_was_written()


def test_a_purchase_that_fails_late_leaves_nothing() -> None:
    shopper = Shopper().sign_up()
    product = make_product()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payments_payment ADD CONSTRAINT no_payment CHECK (amount < 0)")
    shopper.client.raise_request_exception = False
    answer = shopper.buy(product)
    assert (answer.status_code, answer["content-type"]) == (500, "application/problem+json")
    assert_nothing_was_written()


LINE = {"product": 1, "quantity": 1}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"lines": []},
        {"lines": [{"product": 10**30, "quantity": 1}]},
        {"lines": [LINE | {"quantity": 0}]},
        {"lines": [LINE | {"quantity": 10**20}]},
        {"lines": [LINE | {"gift_message": "nul \0"}]},
        {"lines": [LINE], "client_reference": "x" * 65},
        {"lines": [LINE], "note": ["no text"]},
        {"lines": [LINE], "shipping_address": []},
        {"lines": [LINE], "shipping_address": {"a": ["nul \0"]}},
        {"lines": [LINE], "shipping_address": {"\ud800": 1}},
        {"lines": [LINE]},
    ],
)
def test_a_bad_purchase_is_a_problem_document(body: object) -> None:
    answer = Shopper().sign_up().call("POST", "/api/orders/", body)
    assert (answer.status_code, answer["content-type"]) == (400, "application/problem+json")
    assert answer.json()["errors"]
    assert_nothing_was_written()


@pytest.mark.parametrize("raw", [b"{", b'{"lines": [], "x": NaN}', b"\xff", b'{"shipping_address": {"a": 1e999}}'])
def test_a_body_that_is_no_json_is_a_problem_document(raw: bytes) -> None:
    shopper = Shopper().sign_up()
    token = shopper.client.cookies["csrftoken"].value
    answer = shopper.client.generic(
        "POST", "/api/orders/", raw, content_type="application/json", headers={"x-csrftoken": token}
    )
    assert (answer.status_code, answer["content-type"]) == (400, "application/problem+json")


def test_a_total_above_what_the_column_holds_is_refused() -> None:
    product = make_product("99999999.99", on_hand=1000)
    shopper = Shopper().sign_up()
    assert shopper.buy(product, 101).status_code == 400
    assert shopper.buy(product, 100).json()["total"] == "9999999999.00"


def test_an_inactive_product_cannot_be_bought() -> None:
    assert Shopper().sign_up().buy(make_product(active=False)).status_code == 400


def test_orders_need_a_login_and_show_only_ones_own() -> None:
    owner, other, visitor = Shopper().sign_up(), Shopper().sign_up(), Shopper()
    order = owner.buy(make_product()).json()
    path = f"/api/orders/{order['id']}/"
    assert owner.get(path).json() == order
    assert other.get(path).status_code == 404
    assert other.call("POST", f"{path}pay/").status_code == 404
    assert other.get("/api/orders/").json()["results"] == []
    for refused in (visitor.get("/api/orders/"), visitor.get(path), visitor.call("POST", f"{path}pay/")):
        assert (refused.status_code, refused["content-type"]) == (403, "application/problem+json")
    assert owner.get(f"/api/orders/{uuid.uuid4()}/").status_code == 404


def test_a_customer_without_the_csrf_token_can_change_nothing() -> None:
    shopper = Shopper().sign_up()
    product = make_product()
    body = {"lines": [{"product": product.pk, "quantity": 1}]}
    answer = shopper.client.post("/api/orders/", body, content_type="application/json")
    assert (answer.status_code, answer["content-type"]) == (403, "application/problem+json")
    assert_nothing_was_written()


def test_orders_come_newest_first_in_pages_of_twenty_with_few_queries(
    django_assert_max_num_queries: Any,
) -> None:
    shopper = Shopper().sign_up()
    product = make_product(on_hand=100)
    bought = [shopper.buy(product).json()["id"] for _ in range(21)]
    with django_assert_max_num_queries(8):
        page = shopper.get("/api/orders/").json()
    assert page["count"] == 21
    assert [order["id"] for order in page["results"]] == bought[:0:-1]
    rest = shopper.get(page["next"]).json()
    assert [order["id"] for order in rest["results"]] == bought[:1]


def test_the_products_a_customer_ordered_are_summed_over_orders() -> None:
    shopper, other = Shopper().sign_up(), Shopper().sign_up()
    one, two = make_product(), make_product()
    shopper.buy(two, 2)
    shopper.buy(one, 1)
    shopper.buy(two, 3)
    other.buy(one, 4)
    assert shopper.get("/api/orders/products/").json() == [
        {"product": one.pk, "name": one.name, "quantity": 1},
        {"product": two.pk, "name": two.name, "quantity": 5},
    ]


def test_an_order_is_paid_and_shipped_and_each_repetition_changes_nothing() -> None:
    shopper = Shopper().sign_up()
    path = f"/api/orders/{shopper.buy(make_product()).json()['id']}/"
    paid = shopper.call("POST", f"{path}pay/")
    assert (paid.status_code, paid.json()["status"]) == (200, "paid")
    assert paid.json()["paid_at"] is not None
    assert shopper.call("POST", f"{path}pay/").json() == paid.json()
    assert Payment.objects.get().status == "captured"
    shipped = shopper.call("POST", f"{path}ship/")
    assert shipped.json() == paid.json() | {"status": "shipped"}
    assert shopper.call("POST", f"{path}ship/").json() == shipped.json()
    order = Order.objects.get()
    names = {"order_id": order.pk, "public_id": str(order.public_id)}
    assert published()[1:] == [("order.paid", names | {"amount": "12.34"}), ("order.shipped", names)]


@pytest.mark.parametrize("paid_before", [False, True])
def test_a_cancelled_order_is_refunded_and_put_back_once(paid_before: bool) -> None:
    shopper = Shopper().sign_up()
    product = make_product()
    path = f"/api/orders/{shopper.buy(product, 4).json()['id']}/"
    if paid_before:
        shopper.call("POST", f"{path}pay/")
    for _ in range(2):
        answer = shopper.call("POST", f"{path}cancel/")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert Stock.objects.get().on_hand == 10
    assert sorted(Movement.objects.values_list("delta", "reason")) == [(-4, "ordered"), (4, "cancelled")]
    assert Payment.objects.get().status == "refunded"
    cancelled = [payload for event_type, payload in published() if event_type == "order.cancelled"]
    assert [payload["lines"] for payload in cancelled] == [[{"product": product.pk, "quantity": 4}]]


@pytest.mark.parametrize(
    ("done", "illegal"),
    [
        ([], "ship"),
        (["pay", "ship"], "cancel"),
        (["pay", "ship"], "pay"),
        (["cancel"], "pay"),
        (["cancel"], "ship"),
    ],
)
def test_an_illegal_transition_is_a_conflict_and_changes_nothing(done: list[str], illegal: str) -> None:
    shopper = Shopper().sign_up()
    path = f"/api/orders/{shopper.buy(make_product()).json()['id']}/"
    for move in done:
        shopper.call("POST", f"{path}{move}/")
    before = (Order.objects.values().get(), published())
    answer = shopper.call("POST", f"{path}{illegal}/")
    assert (answer.status_code, answer["content-type"]) == (409, "application/problem+json")
    assert (Order.objects.values().get(), published()) == before


@pytest.mark.django_db(transaction=True)
def test_of_many_purchases_at_once_only_as_many_succeed_as_the_stock_holds() -> None:
    one, two = make_product(on_hand=5), make_product(on_hand=5)
    shoppers = [Shopper().sign_up() for _ in range(8)]

    def buy(number: int) -> int:
        # Half of them name the products the other way round, which without an order of locks would deadlock.
        pair = (one, two) if number % 2 else (two, one)
        lines = [{"product": product.pk, "quantity": 1} for product in pair]
        try:
            return int(shoppers[number].call("POST", "/api/orders/", {"lines": lines}).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(shoppers)) as pool:
        codes = sorted(pool.map(buy, range(len(shoppers))))
    assert codes == [201] * 5 + [409] * 3
    assert set(Stock.objects.values_list("on_hand", flat=True)) == {0}
    assert (Order.objects.count(), Payment.objects.count(), len(published())) == (5, 5, 5)


def test_deleting_a_customer_takes_orders_lines_and_payments_along() -> None:
    shopper = Shopper().sign_up()
    shopper.buy(make_product())
    User.objects.get(pk=shopper.id).delete()
    assert not Order.objects.exists()
    assert not OrderLine.objects.exists()
    assert not Payment.objects.exists()
    assert list(Movement.objects.values_list("order_id", flat=True)) == [None]
