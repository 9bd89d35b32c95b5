"""The shop's seed: the same rows for the same seed, consistent, awkward, and ready for new orders."""

import hashlib
import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Count, F, Sum

from legacy_monolith.accounts.models import User
from legacy_monolith.catalog.models import Product
from legacy_monolith.inventory.models import Movement, Stock
from legacy_monolith.orders.models import Order, OrderLine
from legacy_monolith.payments.models import Payment
from legacy_monolith.seed import ON_HAND, PASSWORD, TABLES, ShopNotEmpty, seed_shop
from legacy_monolith.testing import Shopper

pytestmark = pytest.mark.django_db


def digest() -> str:
    """Hash every row of every table, as PostgreSQL writes it."""
    whole = hashlib.sha256()
    with connection.cursor() as cursor:
        for model in TABLES:
            cursor.execute(f'SELECT t::text FROM "{model._meta.db_table}" AS t ORDER BY id')
            for (row,) in cursor.fetchall():
                whole.update(row.encode() + b"\n")
    return whole.hexdigest()


def empty() -> None:
    names = ", ".join(f'"{model._meta.db_table}"' for model in TABLES)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def test_the_same_seed_makes_the_same_rows_and_another_seed_others() -> None:
    digests = []
    for seed in (7, 7, 8):
        seed_shop(1200, seed)
        digests.append(digest())
        empty()
    assert digests[0] == digests[1] != digests[2]


def test_the_seeded_rows_agree_with_each_other() -> None:
    made = seed_shop(1200, 7)
    assert (made.users, made.products, made.orders) == (120, 500, 1200)
    assert Order.objects.count() == made.orders
    assert OrderLine.objects.count() == made.lines
    amount = F("quantity") * F("unit_price")
    lines = OrderLine.objects.values("order_id").annotate(n=Count("id"), total=Sum(amount))
    totals = dict(Order.objects.values_list("id", "total"))
    assert {row["order_id"]: row["total"] for row in lines} == totals
    assert {row["n"] for row in lines} == {1, 2, 3, 4}
    assert dict(Payment.objects.values_list("order_id", "amount")) == totals
    assert set(Payment.objects.values_list("order__status", "status").distinct()) == {
        ("placed", "authorised"),
        ("paid", "captured"),
        ("shipped", "captured"),
        ("cancelled", "refunded"),
    }
    assert not Order.objects.filter(status__in=["paid", "shipped"], paid_at=None).exists()
    assert set(Stock.objects.values_list("on_hand", flat=True)) == {ON_HAND}
    moved = Movement.objects.values_list("product_id").annotate(sum=Sum("delta"))
    assert set(dict(moved).values()) == {ON_HAND}
    assert not Movement.objects.filter(order=None).exclude(reason="received").exists()
    latest = {order.user_id: order.pk for order in Order.objects.order_by("placed_at", "id")}
    noted = dict(User.objects.exclude(last_order=None).values_list("id", "last_order_id"))
    assert noted == latest


def test_the_seed_holds_the_values_that_break_naive_copies() -> None:
    seed_shop(1200, 7)
    notes = set(Order.objects.values_list("note", flat=True))
    assert {None, "", "null"} <= notes
    assert any(note and "\u0308" in note for note in notes)
    assert {None, "", "NULL", "\\N"} <= set(OrderLine.objects.values_list("gift_message", flat=True))
    assert Order.objects.filter(total="9999999999.99").exists()
    assert Order.objects.filter(discount="0.10").exists()
    assert Order.objects.filter(placed_at="1999-12-31T09:59:59.999999Z").exists()
    addresses = list(Order.objects.values_list("shipping_address", flat=True))
    assert {} in addresses
    assert any(address.get("geo") == {"lat": None, "lon": [None, {"deep": None}]} for address in addresses)
    assert User.objects.filter(first_name="").exists()
    assert User.objects.filter(last_name="").exists()
    assert Product.objects.filter(active=False).exists()


def test_a_seeded_customer_logs_in_and_buys_and_ids_go_on_after_the_seed() -> None:
    seed_shop(100, 7)
    shopper = Shopper()
    credentials = {"email": "shopper1@example.com", "password": PASSWORD}
    login = shopper.call("POST", "/api/accounts/login/", credentials)
    assert login.status_code == 200
    product = Product.objects.filter(active=True).first()
    assert product is not None
    assert shopper.buy(product).status_code == 201
    assert Order.objects.latest("id").pk == 101
    assert OrderLine.objects.latest("id").pk <= 401
    assert Shopper().sign_up().id == 101
    for order in shopper.get("/api/orders/").json()["results"]:
        assert shopper.get(f"/api/orders/{order['id']}/").json() == order


def test_a_shop_that_holds_rows_is_not_seeded() -> None:
    User.objects.create_user("staff@example.com", "long enough")
    with pytest.raises(ShopNotEmpty, match=r"accounts_user.*manage\.py flush"):
        seed_shop(10, 7)
    assert not Product.objects.exists()
    with pytest.raises(CommandError, match=r"manage\.py flush"):
        call_command("shop_seed", orders=10)


def test_the_command_says_what_it_made() -> None:
    out = StringIO()
    call_command("shop_seed", orders=20, seed=3, format="json", stdout=out)
    made: dict[str, Any] = json.loads(out.getvalue())
    assert (made["orders"], made["users"], made["seed"]) == (20, 100, 3)
    empty()
    out = StringIO()
    call_command("shop_seed", orders=20, seed=3, stdout=out)
    assert out.getvalue().startswith("made 20 orders with ")


def test_an_empty_shop_can_be_seeded_with_products_alone() -> None:
    assert seed_shop(0, 1).lines == 0
    assert Product.objects.count() == 500
