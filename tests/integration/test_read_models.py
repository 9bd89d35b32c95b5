"""Read models: the same in any order of arrival, equal to the JOIN that they replace, and each delete policy kept."""

import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extracted_services.dashboard import read_models as dashboard
from legacy_monolith.accounts.models import User
from legacy_monolith.catalog.models import Product
from legacy_monolith.orders.purchase import Item, purchase
from legacy_monolith.orders.transitions import IllegalTransition, cancel, pay, ship
from migration_tools.messaging import handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handling import handle
from migration_tools.projections import registry
from migration_tools.testing.deliveries import sample
from tests.conftest import SMALL_SHOP, Cluster, Pair, cloned_pair
from tests.read_model_rig import MODELS, delivered, history, install_models, number, settle, shown, undone

ORDER = "00000000-0000-0000-0000-00000000000a"


@pytest.fixture(scope="module")
def shop(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Pair]:
    """A shop whose database holds the dashboard's read models too."""
    with pytest.MonkeyPatch.context() as patch, cloned_pair(cluster, templates, django_db_blocker) as made:
        patch.setattr(handlers, "_registry", {})
        patch.setattr(registry, "_registry", {})
        install_models(*MODELS)
        yield made


def placed(*, user: int = 1, position: int = 1) -> Envelope:
    said = {"order_id": 1, "public_id": ORDER, "user_id": user, "total": "12.30", "currency": "EUR"}
    lines = [{"product": 5, "quantity": 2}, {"product": 6, "quantity": 1}]
    return sample(
        "order.placed", {**said, "lines": lines}, stream="orders", aggregate_type="order", aggregate_id=ORDER,
        position=position,
    )  # fmt: skip


def moved(what: str, position: int) -> Envelope:
    payload: dict[str, object] = {"order_id": 1, "public_id": ORDER}
    return sample(
        f"order.{what}", payload, stream="orders", aggregate_type="order", aggregate_id=ORDER, position=position
    )


def user(what: str, position: int, **payload: object) -> Envelope:
    said = {"user_id": 1, **payload}
    return sample(f"user.{what}", said, stream="users", aggregate_type="user", aggregate_id=1, position=position)


def product(name: str, position: int) -> Envelope:
    said: dict[str, object] = {"product": 5, "sku": "S5", "name": name}
    return sample(
        "product.changed", said, stream="catalog", aggregate_type="product", aggregate_id=5, position=position
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), length=st.integers(1, 25))
def test_shuffled_and_repeated_events_show_the_same_as_ordered_ones(shop: Pair, seed: int, length: int) -> None:
    choose = random.Random(seed)
    events = history(choose, length)
    twisted = events + choose.choices(events, k=len(events) // 2)
    choose.shuffle(twisted)
    assert delivered(twisted) == delivered(events)


def test_shipped_before_placed_ends_as_shipped(shop: Pair) -> None:
    events = [placed(), moved("paid", 2), moved("shipped", 3)]
    early = delivered(reversed(events))
    assert '"status":"shipped"' in early["order_summary"][0][0]
    assert early == delivered(events)


def test_an_order_is_not_shown_before_it_was_placed(shop: Pair) -> None:
    assert delivered([user("renamed", 1, name="Ada")])["order_summary"] == []


def test_the_seeds_handlers_would_lose_the_shipping(shop: Pair) -> None:
    """What the read model is held against: a plain UPDATE of a row that is not there yet."""
    with shop.connect("shop") as conn:
        conn.execute("CREATE TEMP TABLE naive (order_id uuid PRIMARY KEY, status text)")
        conn.execute("UPDATE naive SET status = 'shipped' WHERE order_id = %s", [ORDER])
        conn.execute("INSERT INTO naive VALUES (%s, 'placed')", [ORDER])
        assert conn.execute("SELECT status FROM naive").fetchone() == ("placed",)


def test_details_are_put_together_whichever_source_speaks_first(shop: Pair) -> None:
    events = [user("renamed", 1, name="Ada"), product("Mug", 1), placed()]
    want = delivered(events)
    [[row]] = want["order_details_view"]
    assert '"customer_name":"Ada"' in row
    assert '"name": "Mug"' in row
    for order in ([2, 1, 0], [2, 0, 1], [0, 2, 1], [1, 2, 0], [1, 0, 2]):
        assert delivered([events[at] for at in order]) == want


def test_a_renamed_customer_is_renamed_in_every_view(shop: Pair) -> None:
    found = delivered([user("renamed", 1, name="Ada"), placed(), user("renamed", 2, name="Countess")])
    for view, rows in found.items():
        assert rows, view
        assert all("Countess" in row and "Ada" not in row for [row] in rows), view


def test_a_deleted_customers_name_is_erased_and_stays_so(shop: Pair) -> None:
    events = [user("renamed", 1, name="Ada"), placed(), user("deleted", 3)]
    found = delivered([*events, user("renamed", 2, name="late news of Ada")])
    assert dashboard.NOBODY in found["order_summary"][0][0]
    assert found["user_orders_view"] == [], "a view of the customer ends with them"
    with undone(), connections["default"].cursor() as cursor:
        for event in events:
            handle(event, dashboard.GROUP)
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_name ~ '_s1$'")
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%Ada%'")
            assert cursor.fetchone() == (0,), f"{table} still holds the name"


def test_a_stream_that_another_side_publishes_now_counts_as_later(shop: Pair) -> None:
    before = [placed(position=5), user("renamed", 900, name="Ada")]
    after = replace(user("renamed", 1, name="Countess"), origin="users")
    assert '"customer_name":"Countess"' in delivered([*before, after])["order_summary"][0][0]
    back = replace(user("renamed", 901, name="Lady"), origin="samples")
    assert '"customer_name":"Lady"' in delivered([*before, after, back])["order_summary"][0][0]


ORACLE = """
    SELECT o.public_id, o.user_id, u.first_name || ' ' || u.last_name, o.placed_at::date, o.total, o.status,
           (SELECT sum(l.quantity) FROM orders_orderline l WHERE l.order_id = o.id)::integer
    FROM orders_order o JOIN accounts_user u ON u.id = o.user_id ORDER BY 1"""
SUMMARY = """SELECT order_id, customer_id, customer_name, order_date::date, total_amount, status, items_count
             FROM order_summary ORDER BY 1"""
ORACLE_OF_ITEMS = """
    SELECT o.public_id, u.first_name || ' ' || u.last_name, l.product_id, p.name, p.sku, l.quantity
    FROM orders_order o JOIN accounts_user u ON u.id = o.user_id JOIN orders_orderline l ON l.order_id = o.id
    JOIN catalog_product p ON p.id = l.product_id ORDER BY o.public_id, l.id"""
DETAILS = """SELECT order_id, customer_name, (i ->> 'product')::bigint, i ->> 'name', i ->> 'sku',
                    (i ->> 'quantity')::integer
             FROM order_details_view, jsonb_array_elements(items) WITH ORDINALITY AS each (i, n) ORDER BY 1, n"""
ORACLE_OF_USERS = """
    SELECT u.id, u.first_name || ' ' || u.last_name, count(o.id), sum(o.total)
    FROM accounts_user u JOIN orders_order o ON o.user_id = u.id GROUP BY u.id ORDER BY 1"""
USERS = "SELECT customer_id, name, orders_count, orders_total FROM user_orders_view ORDER BY 1"


def rename(user: User, name: str) -> None:
    user.last_name = name
    user.save()


def change(number: int, name: str) -> None:
    product = Product.objects.get(pk=number)
    product.name = name
    product.save()


def test_the_views_equal_the_join_of_the_monolith_after_random_business(shop: Pair) -> None:
    choose = random.Random(1)
    with shop.connect("shop") as conn:
        conn.execute(SMALL_SHOP.partition("INSERT INTO orders_order")[0])
        users = list(User.objects.order_by("id")[:6])
        for each in users:
            rename(each, f"Näme {each.pk}")
        products = [row[0] for row in conn.execute("SELECT id FROM catalog_product ORDER BY id LIMIT 5")]
        for each in products:
            change(each, f"A thing {each}")
        orders: list[tuple[User, Any]] = []
        for step in range(60):
            kind = choose.random()
            if kind < 0.5 or not orders:
                lines = [Item(product_id=p, quantity=choose.randrange(1, 5)) for p in choose.sample(products, 2)]
                buyer = choose.choice(users)
                orders.append((buyer, purchase(buyer, lines).public_id))
            elif kind < 0.75:
                buyer, order = choose.choice(orders)
                move = choose.choice([pay, ship, cancel])
                with contextlib.suppress(IllegalTransition):
                    move(buyer, order)
            elif kind < 0.9:
                rename(choose.choice(users), f"Nämé {step}")
            else:
                change(choose.choice(products), f"Thing {step}")
            if choose.random() < 0.2:
                settle(choose.choice(["users", "catalog", "orders"]))
        settle()
        for oracle, ours in ((ORACLE, SUMMARY), (ORACLE_OF_ITEMS, DETAILS), (ORACLE_OF_USERS, USERS)):
            want = conn.execute(oracle).fetchall()
            assert want
            assert conn.execute(ours).fetchall() == want
    assert number("orders") > 0
    assert shown("feed")["feed"]
