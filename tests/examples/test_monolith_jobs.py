"""The shop's writers behind the API, its reports, and its reactions to another seller's events."""

import datetime as dt
import json
import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from legacy_monolith.accounts.models import User
from legacy_monolith.inventory.handlers import put_back, take_from_stock
from legacy_monolith.inventory.models import Movement, Stock
from legacy_monolith.orders.jobs import bulk_update_orders, raw_adjust_orders
from legacy_monolith.orders.models import Order
from legacy_monolith.payments.handlers import authorise_payment, capture_payment, refund_payment
from legacy_monolith.payments.models import Payment
from legacy_monolith.reporting.sales import sales_by_category, top_customers
from legacy_monolith.seed import seed_shop
from legacy_monolith.testing import Shopper, make_product
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.models import Outbox

pytestmark = pytest.mark.django_db


def test_the_bulk_job_changes_what_it_says_and_no_other_order() -> None:
    seed_shop(400, 7)
    before = {row["id"]: row for row in Order.objects.values()}
    changes = bulk_update_orders(25, seed=1)
    assert len(changes) == 25
    told = {change.order_id: change for change in changes}
    for row in Order.objects.values():
        if row["id"] not in told:
            assert row == before[row["id"]]
            continue
        change = told[row["id"]]
        assert change.public_id == str(row["public_id"])
        assert change.values == {"note": row["note"], "status": row["status"]}
        was = before[row["id"]]["status"]
        assert row["status"] == ("shipped" if was == "paid" else was) != "cancelled"
        assert row["updated_at"] == before[row["id"]]["updated_at"]
    assert {change.values["status"] for change in changes} == {"placed", "shipped"}
    assert not Outbox.objects.exclude(stream__in=["users", "catalog"]).exists()


def test_the_bulk_job_does_not_ship_what_was_bought_a_moment_ago() -> None:
    shopper = Shopper().sign_up()
    path = f"/api/orders/{shopper.buy(make_product()).json()['id']}/"
    shopper.call("POST", f"{path}pay/")
    assert [change.values["status"] for change in bulk_update_orders(10, seed=1)] == ["paid"]
    assert shopper.call("POST", f"{path}cancel/").status_code == 200


def test_the_raw_job_changes_the_discounts_it_says_and_nothing_else() -> None:
    seed_shop(400, 7)
    before = {row["id"]: row for row in Order.objects.values()}
    for seed in range(6):
        changes = raw_adjust_orders(30, seed)
        assert len(changes) == 30
        for change in changes:
            told = change.values["discount"]
            before[change.order_id]["discount"] = None if told is None else Order(discount=told).discount
    for row in Order.objects.values():
        expected = before[row["id"]]
        assert str(row.pop("discount")) == str(expected.pop("discount"))
        assert row == expected


def test_the_same_seed_chooses_the_same_orders() -> None:
    seed_shop(400, 7)
    assert raw_adjust_orders(10, 5) == raw_adjust_orders(10, 5) != raw_adjust_orders(10, 6)


@pytest.mark.parametrize("job", [bulk_update_orders, raw_adjust_orders])
def test_a_job_on_an_empty_shop_changes_nothing(job: Any) -> None:
    assert job(10, 1) == []


@pytest.mark.parametrize("command", ["shop_reprice", "shop_nightly_adjust"])
def test_a_job_runs_as_a_command_too(command: str) -> None:
    seed_shop(50, 7)
    out = StringIO()
    call_command(command, limit=5, seed=2, format="json", stdout=out)
    assert len(json.loads(out.getvalue())) == 5
    out = StringIO()
    call_command(command, limit=5, stdout=out)
    assert out.getvalue().startswith("changed the ")


def test_reports_join_what_all_apps_know() -> None:
    shopper, other = Shopper().sign_up("Ada", "Lovelace"), Shopper().sign_up("Zoë", "Ö")
    book, toy = make_product("10.00"), make_product("0.10", category="Toys")
    bought = [shopper.buy(book, 2).json(), shopper.buy(toy, 3).json(), other.buy(book, 1).json()]
    shopper.call("POST", f"/api/orders/{bought[0]['id']}/pay/")
    other.call("POST", f"/api/orders/{other.buy(toy, 1).json()['id']}/cancel/")
    year = dt.datetime.now(dt.UTC).year
    rows = [(row.category, row.orders, row.pieces, str(row.revenue)) for row in sales_by_category(year)]
    assert rows == [("Books", 2, 3, "30.00"), ("Toys", 1, 3, "0.30")]
    best = [(row.id, row.name, row.orders, str(row.spent), str(row.captured)) for row in top_customers(2)]
    assert best == [
        (shopper.id, "Ada Lovelace", 2, "20.30", "20.00"),
        (other.id, "Zoë Ö", 1, "10.00", "None"),
    ]


def test_reports_are_for_staff() -> None:
    shopper = Shopper().sign_up()
    shopper.buy(make_product("10.00"))
    paths = ("/api/reports/top-customers/?limit=1", "/api/reports/sales-by-category/")
    assert {shopper.get(path).status_code for path in paths} == {403}
    User.objects.filter(pk=shopper.id).update(is_staff=True)
    assert shopper.get(paths[0]).json()[0]["spent"] == "10.00"
    assert shopper.get(paths[1]).json()[0]["revenue"] == "10.00"
    assert shopper.get("/api/reports/top-customers/?limit=0").status_code == 400


def envelope(event_type: str, order: Order, **facts: Any) -> Envelope:
    payload = {"order_id": order.pk, "public_id": str(order.public_id), **facts}
    return Envelope(
        event_id=uuid.uuid4(),
        aggregate_id=str(order.public_id),
        aggregate_type="order",
        event_type=event_type,
        event_version=1,
        timestamp=dt.datetime.now(dt.UTC),
        correlation_id=None,
        causation_id=None,
        payload=payload,
        stream="orders",
        origin="orders",
        position=1,
    )


def test_after_the_cutover_stock_and_payment_follow_the_events() -> None:
    """The order has come back as a row; nothing but the events tells stock and payments about it."""
    one, two = make_product(), make_product()
    user = User.objects.create_user("far@example.com", "long enough")
    order = Order.objects.create(user=user, total="24.68")
    lines = [
        {"product": two.pk, "quantity": 1},
        {"product": one.pk, "quantity": 2},
        {"product": two.pk, "quantity": 3},
    ]
    placed = envelope("order.placed", order, user_id=user.pk, total="24.68", currency="EUR", lines=lines)
    take_from_stock(placed)
    authorise_payment(placed)
    assert dict(Stock.objects.values_list("product_id", "on_hand")) == {one.pk: 8, two.pk: 6}
    assert list(Payment.objects.values_list("order_id", "amount", "status")) == [
        (order.pk, Order.objects.get().total, "authorised")
    ]
    capture_payment(envelope("order.paid", order, amount="24.68"))
    assert Payment.objects.get().status == "captured"
    cancelled = envelope("order.cancelled", order, lines=lines)
    put_back(cancelled)
    refund_payment(cancelled)
    assert dict(Stock.objects.values_list("product_id", "on_hand")) == {one.pk: 10, two.pk: 10}
    assert Payment.objects.get().status == "refunded"
    assert sorted(Movement.objects.values_list("product_id", "delta", "reason")) == [
        (one.pk, -2, "ordered"),
        (one.pk, 2, "cancelled"),
        (two.pk, -4, "ordered"),
        (two.pk, 4, "cancelled"),
    ]
    assert not Outbox.objects.exclude(stream__in=["users", "catalog"]).exists()
