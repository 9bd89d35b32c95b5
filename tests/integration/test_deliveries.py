"""The meta-test of handlers: those of the example pass it, and each kind of mistake fails it."""

import datetime as dt
import uuid
from typing import Any

import pytest

from legacy_monolith.inventory.models import Movement
from legacy_monolith.orders.models import Order
from migration_tools.messaging import handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles
from migration_tools.messaging.models import DeadLetter, Inbox
from migration_tools.stores.postgres import connect, django_connection
from migration_tools.testing.deliveries import EffectsDiffer, assert_effects_once, sample

CLOCKS = ("payments_payment.created_at", "payments_payment.updated_at", "inventory_movement.created_at")


def life(order: int) -> list[Envelope]:
    about: dict[str, Any] = {"stream": "orders", "aggregate_type": "order", "aggregate_id": order}
    lines = [{"product": 1 + order % 3, "quantity": order}]
    bought = {"public_id": str(uuid.UUID(int=order)), "user_id": 1}
    return [
        sample("order.placed", {"order_id": order, "total": "9.99", "lines": lines, **bought}, **about),
        sample("order.paid", {"order_id": order, "amount": "9.99"}, **about),
        sample("order.cancelled", {"order_id": order, "lines": lines}, **about),
    ]


def things(*names: str, version: int = 1) -> list[Envelope]:
    return [
        sample("test.thing", {}, version=version, stream="orders", aggregate_type="thing", aggregate_id=name)
        for name in names
    ]


@pytest.fixture
def counter(stage: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(handlers, "_registry", {})
    stage.shop.execute("CREATE TABLE counter (number int, seen text[] NOT NULL DEFAULT '{}')")
    stage.shop.execute("INSERT INTO counter VALUES (0)")
    stage.shop.execute("GRANT ALL ON counter TO PUBLIC")
    return stage


def test_the_examples_handlers_do_everything_once_in_any_order(stage: Any) -> None:
    orders = Order.objects.values_list("pk", flat=True).order_by("pk")[:4]
    before = Movement.objects.count()
    made = assert_effects_once([event for pk in orders for event in life(pk)], rounds=6, ignore=CLOCKS)
    assert made == 7
    assert Movement.objects.count() == before, "the deliveries are rolled back"
    assert not Inbox.objects.exists()
    assert not DeadLetter.objects.exists()


def test_no_handler_of_the_examples_stream_is_left_out() -> None:
    """Who declares another one adds its event to `life`, and so has it delivered twice and shuffled."""
    declared = {handler.event_type for handler in handlers.registered("orders") if not handler.group}
    assert declared == {event.event_type for event in life(1)}


def test_a_counter_that_is_not_idempotent_passes_because_the_inbox_is(counter: Any) -> None:
    @handles("test.thing", stream="orders")
    def take(event: Envelope) -> None:
        django_connection("default").execute("UPDATE counter SET number = number + 1")

    assert_effects_once(things("a", "b", "a", "c", "b"), rounds=5)


def test_an_effect_outside_of_the_transaction_is_found(counter: Any) -> None:
    counter.orders.execute("CREATE TABLE elsewhere (name text)")

    @handles("test.thing", stream="orders")
    def take(event: Envelope) -> None:
        with connect("orders", "a handler's own") as conn:
            conn.execute("INSERT INTO elsewhere VALUES (%s)", [event.aggregate_id])

    with pytest.raises(EffectsDiffer, match=r"orders\.elsewhere"):
        assert_effects_once(things("a", "b"), rounds=2)


def test_a_handler_that_depends_on_the_order_of_keys_is_found(counter: Any) -> None:
    @handles("test.thing", stream="orders")
    def take(event: Envelope) -> None:
        django_connection("default").execute("UPDATE counter SET seen = seen || %s::text", [event.aggregate_id])

    with pytest.raises(EffectsDiffer, match="seed"):
        assert_effects_once(things("a", "b", "c", "d"), rounds=10)


def test_a_handler_that_remembers_in_its_process_is_found(counter: Any) -> None:
    seen: set[str] = set()

    @handles("test.thing", stream="orders")
    def take(event: Envelope) -> None:
        if str(event.event_id) not in seen:
            seen.add(str(event.event_id))
            django_connection("default").execute("UPDATE counter SET number = number + 1")

    with pytest.raises(EffectsDiffer, match=r"default\.counter"):
        assert_effects_once(things("a", "b"), rounds=1)


def test_a_handler_without_a_sample_and_one_that_fails_are_found(counter: Any) -> None:
    @handles("test.thing", stream="orders", versions=(1, 2))
    def take(event: Envelope) -> None:
        if event.event_version == 2:
            raise LookupError("not yet")

    with pytest.raises(EffectsDiffer, match=r"no sample of test\.thing 2"):
        assert_effects_once(things("a"))
    with pytest.raises(EffectsDiffer, match="LookupError"):
        assert_effects_once([*things("a"), *things("b", version=2)])


def test_a_sample_has_the_time_that_it_is_given() -> None:
    moment = dt.datetime(2026, 5, 4, tzinfo=dt.UTC)
    made = sample("x.y", {}, stream="orders", aggregate_type="x", aggregate_id=1, timestamp=moment)
    assert made.timestamp == moment
