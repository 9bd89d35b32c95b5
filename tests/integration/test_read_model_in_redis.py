"""A read model in Redis: the same merges, the same rebuild, and a lost pointer comes back with the next event."""

import random
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.test import override_settings

from migration_tools.errors import SettingsError, StoreAway
from migration_tools.messaging import handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handling import HandlerFailed, handle
from migration_tools.projections import Gone, Largest, Latest, Put, ReadModel, Steps, Table, on, registry
from migration_tools.projections.merging import Row, gone, put
from migration_tools.projections.redis_rows import RedisRows
from migration_tools.projections.validation import find_mistakes
from migration_tools.testing.brokers import EmbeddedRedis
from tests.conftest import Cluster, Pair, cloned_pair
from tests.integration.test_read_model_rebuild import rebuild
from tests.read_model_rig import history, install_models, publish, settle, undone


class Cached(ReadModel):
    """An order's summary as a document in Redis."""

    name = "cached_order"
    group = "dashboard"
    store = "cache"
    tables: ClassVar = (
        Table(
            name="cached_order",
            key={"order_id": "uuid"},
            source="orders",
            columns={
                "customer_id": Latest("bigint"),
                "total": Latest("numeric"),
                "status": Steps("placed", "paid", "shipped", "cancelled"),
                "last_updated": Largest("timestamptz"),
            },
        ),
    )

    @on("order.placed", stream="orders")
    def placed(self, event: Envelope) -> Any:
        said = event.payload
        values = {"customer_id": said["user_id"], "total": said["total"], "status": "placed"}
        yield Put("cached_order", {"order_id": said["public_id"]}, {**values, "last_updated": event.timestamp})

    @on("order.paid", stream="orders")
    @on("order.shipped", stream="orders")
    def moved(self, event: Envelope) -> Any:
        values = {"status": event.event_type.removeprefix("order."), "last_updated": event.timestamp}
        yield Put("cached_order", {"order_id": event.payload["public_id"]}, values)

    @on("order.cancelled", stream="orders")
    def cancelled(self, event: Envelope) -> Any:
        yield Gone("cached_order", {"order_id": event.payload["public_id"]})


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    """A Redis of this module's own."""
    with EmbeddedRedis() as made:
        yield made


@pytest.fixture(scope="module")
def store(
    server: EmbeddedRedis, cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any
) -> Iterator[Pair]:
    """A database with the read model's slot, and Redis with its rows."""
    stores = {"cache": {"ENGINE": "redis", "URL": server.url}}
    with (
        pytest.MonkeyPatch.context() as patch,
        cloned_pair(cluster, templates, django_db_blocker) as made,
        override_settings(MIGRATION_TOOLS={"STORES": stores}),
    ):
        patch.setattr(handlers, "_registry", {})
        patch.setattr(registry, "_registry", {})
        install_models(Cached)
        yield made


@pytest.fixture
def rows(store: Pair, server: EmbeddedRedis) -> Iterator[RedisRows]:
    """What readers use."""
    made = RedisRows(registry.get("cached_order"), server.url)
    made._redis.flushdb()
    yield made
    made.close()


def expected(events: list[Envelope]) -> dict[str, dict[str, Any]]:
    """The rows by the merge alone, in the order of the stream."""
    model = registry.get("cached_order")
    [table] = model.tables
    found: dict[str, Row] = {}
    for event in events:
        for taken in model.taken():
            if taken.event_type == event.event_type:
                for change in model.changes(taken, event):
                    key = str(change.key["order_id"])
                    row = found.get(key, Row())
                    found[key] = (
                        put(table, row, change.values, stream="orders", position=event.position, erases=True)
                        if isinstance(change, Put)
                        else gone(row, erases=True)
                    )
    return {key: dict(row.values) for key, row in found.items() if row.present}


def test_shuffled_and_repeated_events_leave_the_same_documents(rows: RedisRows) -> None:
    for seed in range(5):
        choose = random.Random(seed)
        events = [event for event in history(choose, 40) if event.stream == "orders"]
        twisted = events + choose.choices(events, k=10)
        choose.shuffle(twisted)
        with transaction.atomic():
            for event in twisted:
                handle(event, "dashboard")
        for key, want in expected(events).items():
            found = rows.read("cached_order", {"order_id": key})
            assert found == {"order_id": key, **want}


def test_an_event_whose_transaction_was_undone_is_delivered_again_without_harm(rows: RedisRows) -> None:
    events = [event for event in history(random.Random(9), 30) if event.stream == "orders"]
    for _ in range(2):
        with undone():
            for event in events:
                handle(event, "dashboard")
    with transaction.atomic():
        for event in events:
            handle(event, "dashboard")
    for key, want in expected(events).items():
        assert rows.read("cached_order", {"order_id": key}) == {"order_id": key, **want}


def test_a_rebuild_swaps_the_documents_and_a_lost_pointer_comes_back(rows: RedisRows) -> None:
    key = "00000000-0000-0000-0000-000000000001"
    said = {"order_id": 1, "public_id": key, "user_id": 7, "total": "1.50", "currency": "EUR", "lines": []}
    publish("orders", "order.placed", key, said)
    settle("orders")
    live = rows.read("cached_order", {"order_id": key})
    assert live is not None
    rows._redis.flushdb()
    assert rows.read("cached_order", {"order_id": key}) is None, "a Redis that lost its memory"
    assert rebuild("cached_order").slot == 2
    assert rows.read("cached_order", {"order_id": key}) == live
    rows._redis.delete(rows._pointer())
    publish("orders", "order.paid", key, {"order_id": 1, "public_id": key, "amount": "1.50"})
    settle("orders")
    found = rows.read("cached_order", {"order_id": key})
    assert found is not None
    assert found["status"] == "paid"
    assert not list(rows._redis.scan_iter(match="cached_order:s1:*")), "the old documents are gone"


def test_while_redis_is_away_no_event_is_given_up(rows: RedisRows, server: EmbeddedRedis) -> None:
    event = next(event for event in history(random.Random(1), 30) if event.event_type == "order.placed")
    server.kill()
    try:
        with pytest.raises(HandlerFailed) as told, transaction.atomic():
            handle(event, "dashboard")
        assert told.value.passing
        with pytest.raises(StoreAway, match="Redis does not answer"):
            rows.read("cached_order", {"order_id": event.payload["public_id"]})
    finally:
        server.start()
    with transaction.atomic():
        handle(event, "dashboard")
    assert rows.read("cached_order", {"order_id": event.payload["public_id"]}) is not None


def test_a_store_that_is_not_named_stops_the_handler_and_says_so(store: Pair) -> None:
    event = next(event for event in history(random.Random(1), 30) if event.event_type == "order.placed")
    with override_settings(MIGRATION_TOOLS={}), pytest.raises(HandlerFailed) as told, transaction.atomic():
        handle(event, "dashboard")
    assert isinstance(told.value.error, SettingsError)
    assert "must name it with ENGINE 'redis'" in str(told.value.error)


def test_derived_columns_are_refused_outside_the_database() -> None:
    from extracted_services.dashboard.read_models import OrderSummary

    class Elsewhere(OrderSummary):
        store = "cache"

    assert "columns are Latest, Steps or Largest only" in " ".join(find_mistakes(Elsewhere()))
