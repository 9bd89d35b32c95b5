"""The order saga, orchestrated and choreographed, through one suite of scenarios; and the seed's money transfer."""

import pytest

from tests.sagas import services
from tests.sagas.tables import trouble
from tests.sagas.world import World

KINDS = ["orchestrated", "choreographed"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_order_is_pending_until_it_is_reserved_and_paid_then_confirmed(world: World, kind: str) -> None:
    sku, customer = world.stock(10), world.account("payments", 100)
    shop = world.balance("payments", "shop")
    order = world.buy(kind, sku=sku, customer=customer)
    assert world.state(order) == "pending"
    world.settle()
    assert world.state(order) == "confirmed"
    assert world.shelf(sku) == (8, 2)
    assert (world.balance("payments", customer), world.balance("payments", "shop")) == (70, shop + 30)


def test_without_stock_the_order_is_cancelled_and_nobody_pays(world: World, kind: str) -> None:
    sku, customer = world.stock(1), world.account("payments", 100)
    order = world.buy(kind, sku=sku, customer=customer)
    world.settle()
    assert world.state(order) == "cancelled"
    assert (world.shelf(sku), world.balance("payments", customer)) == ((1, 0), 100)


def test_without_money_the_reservation_is_released_and_the_order_cancelled(world: World, kind: str) -> None:
    sku, customer = world.stock(10), world.account("payments", 29)
    order = world.buy(kind, sku=sku, customer=customer)
    world.settle()
    assert world.state(order) == "cancelled"
    assert (world.shelf(sku), world.balance("payments", customer)) == ((10, 0), 29)


def test_an_order_withdrawn_meanwhile_is_refunded_and_released(world: World, kind: str) -> None:
    """No isolation: others see a pending order and may change it, so the last step reads it again."""
    sku, customer = world.stock(10), world.account("payments", 100)
    shop = world.balance("payments", "shop")
    order = world.buy(kind, sku=sku, customer=customer)
    world.conns["orders"].execute("UPDATE shop_order SET state = 'withdrawn' WHERE id = %s", [order])
    world.settle()
    assert world.state(order) == "cancelled"
    assert world.one("orders", "SELECT note FROM shop_order WHERE id = %s", order) == "", (
        "what was refused left nothing"
    )
    assert world.shelf(sku) == (10, 0)
    assert (world.balance("payments", customer), world.balance("payments", "shop")) == (100, shop)


@pytest.mark.parametrize("step", ["reserve", "pay", "confirm"])
def test_a_step_that_fails_twice_is_tried_again_and_has_one_effect(world: World, kind: str, step: str) -> None:
    sku, customer = world.stock(10), world.account("payments", 100)
    trouble[step] = 2
    order = world.buy(kind, sku=sku, customer=customer)
    world.settle()
    assert trouble[step] == 0
    assert world.state(order) == "confirmed"
    assert (world.shelf(sku), world.balance("payments", customer)) == ((8, 2), 70)


@pytest.mark.parametrize("step", ["refund", "release", "cancel"])
def test_a_compensation_that_fails_twice_is_tried_until_it_is_done(world: World, kind: str, step: str) -> None:
    sku, customer = world.stock(10), world.account("payments", 100)
    trouble[step] = 2
    order = world.buy(kind, sku=sku, customer=customer)
    world.conns["orders"].execute("UPDATE shop_order SET state = 'withdrawn' WHERE id = %s", [order])
    world.settle()
    assert trouble[step] == 0
    assert world.state(order) == "cancelled"
    assert (world.shelf(sku), world.balance("payments", customer)) == ((10, 0), 100)


def test_every_event_delivered_again_changes_nothing(world: World, kind: str) -> None:
    """All streams are taken once more from their beginning, as after `strangle_replay --again`."""
    sku, customer = world.stock(10), world.account("payments", 100)
    order = world.buy(kind, sku=sku, customer=customer)
    world.settle()
    for conn in world.conns.values():
        conn.execute("UPDATE strangle_inbox SET position = 0, rows_position = 0")
    world.settle()
    assert world.state(order) == "confirmed"
    assert (world.shelf(sku), world.balance("payments", customer)) == ((8, 2), 70)


def test_a_service_that_stands_still_holds_the_order_up_and_nothing_is_lost(world: World, kind: str) -> None:
    sku, customer = world.stock(10), world.account("payments", 100)
    order = world.buy(kind, sku=sku, customer=customer)
    for _ in range(3):
        for service in ("orders", "inventory"):
            world.number(service)
            world.consume(service, "inventory" if service == "orders" else "orders")
    assert world.state(order) == "pending"
    assert world.shelf(sku) == (8, 2)
    world.settle()
    assert world.state(order) == "confirmed"


def test_money_goes_from_a_to_b(world: World) -> None:
    a, b = world.account("payments", 1000), world.account("inventory", 0)
    saga = world.begin(services.SHOP_TRANSFER, {"from": a, "to": b, "amount": 100})
    world.settle()
    assert (world.balance("payments", a), world.balance("inventory", b)) == (900, 100)
    assert world.status(saga) == "completed"
    assert world.steps(saga) == (["debit_a", "credit_b"], [])


def test_when_b_is_invalid_a_has_its_money_again(world: World) -> None:
    a, b = world.account("payments", 1000), world.account("inventory", 0, is_open=False)
    saga = world.begin(services.SHOP_TRANSFER, {"from": a, "to": b, "amount": 100})
    world.settle(until=lambda: world.balance("payments", a) == 900)
    assert world.balance("payments", a) == 900, "in between everybody sees it gone"
    world.settle()
    assert (world.balance("payments", a), world.balance("inventory", b)) == (1000, 0)
    assert world.status(saga) == "compensated"
    assert world.steps(saga) == (["debit_a"], ["debit_a"])
    reason = world.one("orders", "SELECT reason FROM saga_state WHERE saga_id = %s", saga)
    assert reason == "credit_b: account_invalid"


def test_insufficient_funds_are_a_refusal_that_is_not_tried_again(world: World) -> None:
    a, b = world.account("payments", 99), world.account("inventory", 0)
    saga = world.begin(services.SHOP_TRANSFER, {"from": a, "to": b, "amount": 100})
    world.settle()
    assert (world.balance("payments", a), world.balance("inventory", b)) == (99, 0)
    assert world.status(saga) == "compensated"
    asked = world.one("orders", "SELECT count(*) FROM strangle_outbox WHERE aggregate_id = %s", saga)
    assert asked == 1
