"""The monolith does what it owns, and hands on what it does not, in the same transaction."""

from typing import Any

import pytest

from legacy_monolith.inventory.models import Movement, Stock
from legacy_monolith.payments.models import Payment
from legacy_monolith.testing import Shopper, make_product
from migration_tools.capture.models import Ownership, Side
from migration_tools.capture.ownership import owned_here
from migration_tools.messaging.handlers import find
from migration_tools.messaging.models import Outbox
from migration_tools.testing.deliveries import sample

pytestmark = pytest.mark.django_db


def left(*contexts: str) -> None:
    for context in contexts:
        Ownership.objects.create(context=context, side=Side.SOURCE, owner=Side.TARGET)


def published(stream: str) -> list[tuple[str, dict[str, Any]]]:
    return list(Outbox.objects.filter(stream=stream).order_by("seq").values_list("event_type", "payload"))


def hear(event_type: str, stream: str, payload: dict[str, Any]) -> None:
    event = sample(event_type, payload, stream=stream, aggregate_type="order", aggregate_id=1)
    for handler, lifted in find(event):
        handler.function(lifted)


def test_a_context_that_was_never_captured_is_the_monoliths() -> None:
    assert owned_here("inventory")
    left("inventory")
    assert not owned_here("inventory")


def test_a_purchase_hands_stock_and_payment_on_to_those_who_own_them() -> None:
    shopper, product = Shopper().sign_up(), make_product("2.50", on_hand=1)
    left("inventory", "payments")
    order = shopper.buy(product, 3)
    assert order.status_code == 201, order.content
    number = Outbox.objects.get(event_type="order.placed").payload["order_id"]
    lines = [{"product": product.pk, "quantity": 3}]
    assert published("inventory") == [("stock.due", {"order_id": number, "reason": "ordered", "lines": lines})]
    step = {"order_id": number, "step": "authorise", "amount": "7.50", "public_id": order.json()["id"]}
    assert published("payments") == [("payment.due", {**step, "user_id": shopper.id})]
    assert (Movement.objects.count(), Payment.objects.count(), Stock.objects.get().on_hand) == (0, 0, 1)
    for move in ("pay", "cancel"):
        assert shopper.call("POST", f"/api/orders/{order.json()['id']}/{move}/").status_code == 200
    assert [payload["step"] for _, payload in published("payments")] == ["authorise", "capture", "refund"]
    assert [payload["reason"] for _, payload in published("inventory")] == ["ordered", "cancelled"]


def test_what_comes_back_is_done_once_however_often_it_is_heard_of() -> None:
    shopper, product = Shopper().sign_up(), make_product("2.25", on_hand=10)
    left("inventory", "payments")
    shopper.buy(product, 4)
    Ownership.objects.all().delete()
    events = {event.event_type: event.payload for event in Outbox.objects.all()}
    number = events["order.placed"]["order_id"]
    for _ in range(2):
        hear("order.placed", "orders", events["order.placed"])
        hear("stock.due", "inventory", events["stock.due"])
        hear("payment.due", "payments", events["payment.due"])
    assert Stock.objects.get().on_hand == 6
    assert [(m.order_id, m.delta) for m in Movement.objects.all()] == [(number, -4)]
    assert [(p.order_id, str(p.amount), p.payer_id) for p in Payment.objects.all()] == [(number, "9.00", shopper.id)]
    for step in ("refund", "capture", "refund"):
        hear("payment.due", "payments", {"order_id": number, "step": step})
    assert Payment.objects.get().status == "refunded"


def test_what_the_monolith_owns_no_longer_is_handed_on_again() -> None:
    left("inventory", "payments")
    due = {"order_id": 78, "reason": "cancelled", "lines": [{"product": 1, "quantity": 4}]}
    hear("stock.due", "inventory", due)
    hear("payment.due", "payments", {"order_id": 78, "step": "refund"})
    assert published("inventory") == [("stock.due", due)]
    assert published("payments") == [("payment.due", {"order_id": 78, "step": "refund"})]


def test_staff_alone_change_products_and_enter_deliveries() -> None:
    product, clerk, customer = make_product(on_hand=1), Shopper().sign_up(), Shopper().sign_up()
    change, delivery = (f"/api/products/{product.pk}/", {"price": "3.10"}), {"quantity": 5}
    arrived = f"/api/stock/{product.pk}/deliveries/"
    assert customer.call("PATCH", *change).status_code == 403
    assert customer.call("POST", arrived, delivery).status_code == 403
    from legacy_monolith.accounts.models import User

    User.objects.filter(pk=clerk.id).update(is_staff=True)
    assert clerk.call("PATCH", *change).json()["price"] == "3.10"
    assert clerk.call("POST", arrived, delivery).json() == {"product": product.pk, "on_hand": 6}
    assert customer.get(f"/api/stock/{product.pk}/").json()["on_hand"] == 6
    assert customer.buy(product).status_code == 201
    [payment] = customer.get("/api/payments/").json()["results"]
    assert (payment["amount"], payment["status"]) == ("3.10", "authorised")
