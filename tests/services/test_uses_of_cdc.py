"""The uses of captured changes: search index, cache, warehouse, workflows; each equals the source after a burst."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx2
import pytest
import redis
from django.conf import settings
from django.db import connections
from django.test import override_settings

from legacy_monolith.catalog.models import Product
from migration_tools.messaging import handlers
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles
from migration_tools.playbook.registry import get
from migration_tools.sagas.declaring import declare
from migration_tools.sagas.definition import LocalStep, Saga, Step
from migration_tools.sagas.orchestrator import start
from migration_tools.stores.clickhouse.store import ClickHouseStore
from migration_tools.stores.opening import open_store
from migration_tools.testing.brokers import EmbeddedRedis
from migration_tools.testing.clickhouse import EmbeddedClickHouseServer
from migration_tools.transfer.replica_sync import Sync
from tests.conftest import Cluster
from tests.races.scene import beside, until
from tests.replica_settings import stores
from tests.services import rig
from tests.services.catalog_sinks import SunkCatalog
from tests.services.road import Road, impatient, road
from tests.stage import DirectFeed

pytestmark = pytest.mark.thorough

CACHE, WAREHOUSE = SunkCatalog.replicas
SAVED, SECONDS = 300, 60.0
GROUP = "workflow"
# As raw SQL writers do, past every model: new products, all of them renamed and repriced, and renamed again.
BURST = (
    """INSERT INTO catalog_product (sku, name, price, currency, category_id, attributes, active)
       SELECT 'burst-' || n, 'new' || n, n, 'EUR', (SELECT min(id) FROM catalog_category), '{}', true
       FROM generate_series(1, 1000) n""",
    "UPDATE catalog_product SET name = 'middle' || id, price = price + 1",
    "UPDATE catalog_product SET name = 'word' || id",
)
SOURCE = "SELECT id, sku, name, (price * 100)::bigint FROM catalog_product"
# Every product by the one word that only its own name is.
INDEX = """SELECT p.id, f.id FROM unnest(%s::bigint[], %s::text[]) AS p (id, word)
           LEFT JOIN shelf_product f ON f.words @@ plainto_tsquery('simple', p.word)"""
REVIEWS = """CREATE TABLE price_review (
    product bigint, version bigint, announced boolean NOT NULL DEFAULT false, PRIMARY KEY (product, version))"""


def note(step: LocalStep) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("INSERT INTO price_review VALUES (%s, %s)", [step.payload["product"], step.payload["version"]])


def forget(step: LocalStep) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("DELETE FROM price_review WHERE product = %s", [step.payload["product"]])


def announce(step: LocalStep) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "UPDATE price_review SET announced = true WHERE product = %s AND version = %s",
            [step.payload["product"], step.payload["version"]],
        )


REVIEW = Saga(
    "price_review", stream="catalog", steps=(Step("note", local=note, undo=forget), Step("announce", local=announce))
)


def review(event: Envelope) -> None:
    """Begin the workflow of a change, once, however often it is delivered."""
    start(
        REVIEW, {name: event.payload[name] for name in ("product", "version")}, saga_id=uuid.UUID(str(event.event_id))
    )


@pytest.fixture
def way(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Road]:
    """The catalogue captured, copied and followed by its service."""
    with django_db_blocker.unblock(), road(cluster, templates, "catalog") as made:
        made.go("strangle_dual_write", "strangle_backfill")
        yield made


def test_index_cache_warehouse_and_workflows_equal_the_source_after_a_burst(
    way: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        cache, warehouse = stack.enter_context(EmbeddedRedis()), stack.enter_context(EmbeddedClickHouseServer())
        chosen = {**settings.MIGRATION_TOOLS, "PLAYBOOKS": ["tests.services.catalog_sinks"]}
        chosen["STORES"] = stores(warehouse.url, cache.url)
        stack.enter_context(override_settings(MIGRATION_TOOLS=chosen))
        stack.enter_context(impatient(get("catalog")))
        url = stack.enter_context(rig.serving("catalog", str(way.service.info.dbname)))
        way.shop.execute(REVIEWS)
        declare(REVIEW)
        monkeypatch.setattr(handlers, "_registry", {})
        handles("product.changed", stream="catalog", group=GROUP)(review)
        way.run("strangle_replica", "copy")
        for sink in (Sync("default", "catalog", CACHE).run, Sync("default", "catalog", WAREHOUSE).run, workflows):
            stack.enter_context(beside(sink))
        for statement in BURST:
            way.shop.execute(statement.encode())
        products = list(Product.objects.order_by("-id")[:SAVED])
        for product in products:
            product.name, product.price = f"saved{product.pk}", product.price + 1
            product.save()
        wanted = {row[0]: row for row in way.shop.execute(SOURCE)}
        assert len(wanted) > 1_000
        words = [list(wanted), [name for _, _, name, _ in wanted.values()]]
        alone = {(key, key) for key in wanted}
        until(lambda: set(way.service.execute(INDEX.encode(), words)) == alone, "the index", SECONDS)
        with httpx2.Client(base_url=url, timeout=30) as client:
            for query, found in (
                (f"saved{products[0].pk}", [products[0].pk]),
                (f"word{products[0].pk}", []),
                ("middle7", []),
            ):
                answer = client.get("/api/products/search/", params={"q": query}).json()
                assert [each["id"] for each in answer["results"] if not answer["by_likeness"]] == found
        until(lambda: cached(cache.url) == wanted, "the cache", SECONDS)
        until(lambda: stored() == wanted, "the warehouse", SECONDS)
        reviewed = "SELECT product FROM price_review WHERE announced ORDER BY 1"
        until(lambda: len(way.shop.execute(reviewed).fetchall()) >= SAVED, "the workflows", SECONDS)
        assert [row[0] for row in way.shop.execute(reviewed)] == sorted(each.pk for each in products)
        assert way.shop.execute("SELECT status, count(*) FROM saga_state GROUP BY 1").fetchall() == [
            ("completed", SAVED)
        ]
        assert way.run("strangle_replica", "verify")["exit_code"] == 0


def workflows(stop: threading.Event) -> None:
    """The consumer of the group that begins workflows."""
    with closing(DirectFeed("default", "default", "catalog")) as feed:
        Consumer("catalog", feed, None, group=GROUP, using="default").run(stop)


def cached(url: str) -> dict[int, tuple[Any, ...]]:
    """What Redis holds, read by its own client."""
    with closing(redis.Redis.from_url(url, decode_responses=True)) as client:
        keys = list(client.scan_iter("product:*", count=2_000))
        pipe = client.pipeline()
        for key in keys:
            pipe.hgetall(key)
        rows = {int(key.partition(":")[2]): row for key, row in zip(keys, pipe.execute(), strict=True)}
    return {key: (key, row["code"], row["title"], int(row["price_cents"])) for key, row in rows.items() if row}


def stored() -> dict[int, tuple[Any, ...]]:
    """What ClickHouse holds, asked in its own words."""
    with closing(open_store("analytics")) as store:
        assert isinstance(store, ClickHouseStore)
        query = "SELECT id, code, title, price_cents FROM analytics.products FINAL ORDER BY id"
        lines = store._engine.ask(query).decode().splitlines()
    rows = [line.split("\t") for line in lines]
    return {int(key): (int(key), code, title, int(cents)) for key, code, title, cents in rows}
