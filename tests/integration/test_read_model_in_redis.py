"""A read model in Redis: the same merges and the same rebuild as in the database."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from migration_tools.errors import SettingsError
from migration_tools.messaging.handling import HandlerFailed, handle
from migration_tools.projections import registry
from migration_tools.projections.redis_rows import RedisRows
from migration_tools.projections.validation import find_mistakes
from migration_tools.testing.brokers import EmbeddedRedis
from tests.conftest import Cluster, Pair
from tests.elsewhere_rig import VIEWS, Promises, of_orders, place, stored
from tests.integration.test_read_model_rebuild import rebuild
from tests.read_model_rig import settle


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    """A Redis of this module's own."""
    with EmbeddedRedis() as made:
        yield made


@pytest.fixture
def store(
    server: EmbeddedRedis, cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any
) -> Iterator[Pair]:
    with stored(cluster, templates, django_db_blocker, "redis", server.url) as made:
        yield made


@pytest.fixture
def rows(store: Pair, server: EmbeddedRedis) -> Iterator[RedisRows]:
    """What readers use, with nothing in it."""
    with contextlib.closing(RedisRows(registry.get("order_analytics"), server.url)) as made:
        made._redis.flushdb()
        yield made


@pytest.fixture
def lose(rows: RedisRows) -> Callable[[], None]:
    """Forget which slot is shown."""
    return lambda: rows._redis.delete(rows._pointer())


class TestPromisesInRedis(Promises):
    engine = "redis"
    says = "Redis"
    server = EmbeddedRedis
    opens = RedisRows


def test_a_rebuild_leaves_nothing_of_the_old_documents(rows: RedisRows) -> None:
    place(1)
    settle("orders")
    assert rebuild("order_analytics").slot == 2
    for view in VIEWS:
        assert not list(rows._redis.scan_iter(match=f"{view}:s1:*"))
        assert len(list(rows._redis.scan_iter(match=f"{view}:s2:*"))) == 1


def test_a_store_that_is_not_named_stops_the_handler_and_says_so(store: Pair) -> None:
    event = next(event for event in of_orders(1, 30) if event.event_type == "order.placed")
    with override_settings(MIGRATION_TOOLS={}), pytest.raises(HandlerFailed) as told, transaction.atomic():
        handle(event, "dashboard")
    assert isinstance(told.value.error, SettingsError)
    assert "must name it with ENGINE 'redis'" in str(told.value.error)


def test_derived_columns_are_refused_outside_the_database() -> None:
    from extracted_services.dashboard.read_models import OrderSummary

    class Elsewhere(OrderSummary):
        store = "cache"

    assert "columns are Latest, Steps or Largest only" in " ".join(find_mistakes(Elsewhere()))


def test_a_reading_that_a_swap_overtakes_is_done_again(rows: RedisRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the pointer and the row the slot is swapped and dropped, each time but the last."""
    key = place(1)
    settle("orders")
    swapped = []

    def late(*args: Any) -> str:
        if len(swapped) < 2:
            swapped.append(rebuild("order_analytics").slot)
        return where(*args)

    where = rows._place
    monkeypatch.setattr(rows, "_place", late)
    assert rows.read("order_analytics", {"order_id": key}) is not None
    assert len(swapped) == 2
