"""The catalogue in a search engine of its own: the same words find the same products, and facets agree.

In Tantivy, and by Elasticsearch's adapter in osmem-server or what ELASTICSEARCH_URL names, see tests.search_server.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.test import override_settings

from migration_tools.errors import StoreError
from migration_tools.stores.elasticsearch.store import ElasticsearchStore
from migration_tools.stores.full_text import FullText
from migration_tools.stores.opening import open_store
from migration_tools.stores.ports import Column, Shape, Store, VersionedRow
from migration_tools.stores.tantivy import TantivyStore
from migration_tools.transfer.replica_copy import copy_replica
from migration_tools.transfer.replica_sync import following
from migration_tools.verification.replicas import compare_replica
from tests.replica_playbook import ReplicatedOrders
from tests.replica_settings import PLAYBOOKS
from tests.search_server import search_url
from tests.services.rig import RunningService
from tests.stage import Stage

pytest_plugins = ["tests.services.rig"]

Get = Callable[[str], RunningService]

PRODUCTS = 80
WORDS = ("lamp", "Lamp", "chair", "Größe", "стул", "折り紙", "red", "blue", "ağ", "ŞAL", "x2", "2026")
CATEGORIES = ("Möbel", "玩具", "things")
BANDS = ("under 10", "10 to 50", "50 to 200", "200 and more")
SHAPE = Shape(
    name="catalog.search",
    into="products",
    key=("id",),
    columns=tuple(
        Column(name=name, type=type_)
        for name, type_ in (("id", "bigint"), ("code", "text"), ("title", "text"), ("category", "text"),
                            ("band", "text"), ("on_sale", "boolean"))
    ),
    declaration="1",
)  # fmt: skip
AS_ROWS = """
    SELECT p.id::text, p.code, p.title, c.title, CASE WHEN price_cents < 1000 THEN 'under 10' WHEN price_cents < 5000
        THEN '10 to 50' WHEN price_cents < 20000 THEN '50 to 200' ELSE '200 and more' END, on_sale::text, p.version + 1
    FROM shelf_product p JOIN shelf_category c ON c.id = category_id"""


@pytest.fixture(scope="module")
def elasticsearch_url() -> Iterator[str]:
    with search_url() as url:
        yield url


@pytest.fixture(params=["tantivy", "elasticsearch"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """A store of each engine that searches, as STORES has it."""
    tantivy = request.param == "tantivy"
    url = str(tmp_path) if tantivy else request.getfixturevalue("elasticsearch_url")
    return {"ENGINE": request.param, "URL": url}


def fresh(store: Any, shape: Shape) -> FullText:
    """The store, searching all that was written to it."""
    assert isinstance(store, TantivyStore | ElasticsearchStore)
    if isinstance(store, ElasticsearchStore):
        store.refresh(shape)
    return store


@pytest.fixture
def catalog(running: Get) -> Iterator[RunningService]:
    """The service with products of few words."""
    service, choose = running("catalog"), random.Random(17)
    service.rows("TRUNCATE shelf_product, shelf_category")
    for number, title in enumerate(CATEGORIES, 1):
        service.rows("INSERT INTO shelf_category (id, title) OVERRIDING SYSTEM VALUE VALUES (%s, %s)", number, title)
    with psycopg.connect(service.dsn(service.database, "postgres"), autocommit=True) as conn:
        conn.cursor().executemany(
            """INSERT INTO shelf_product (id, code, title, price_cents, currency, category_id, features, on_sale)
               OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, %s, 'EUR', %s, '{}', %s)""",
            [
                (number, f"C{number}", " ".join(choose.choices(WORDS, k=3)), choose.choice((500, 3000, 9000, 90000)),
                 choose.randint(1, len(CATEGORIES)), choose.random() < 0.9)
                for number in range(1, PRODUCTS + 1)
            ],
        )  # fmt: skip
    yield service
    service.rows("TRUNCATE shelf_product, shelf_category")


def rows(service: RunningService) -> list[VersionedRow]:
    return [VersionedRow(key=(said[0],), version=int(said[6]), values=said[:6]) for said in service.rows(AS_ROWS)]


def by_service(service: RunningService, query: dict[str, str]) -> tuple[set[str], dict[str, Any]]:
    """Every page of what the service finds in PostgreSQL, and its facets."""
    with service.browser(None) as browser:
        ids: set[str] = set()
        page = 1
        while True:
            answer = browser.get("/api/products/search/", params={**query, "page": page}).json()
            if answer["by_likeness"]:
                return set(), {"category": {}, "price": dict.fromkeys(BANDS, 0)}
            ids |= {str(product["id"]) for product in answer["results"]}
            if not answer["next"]:
                return ids, answer["facets"]
            page += 1


def by_index(store: FullText, query: dict[str, str]) -> tuple[set[str], dict[str, Any]]:
    """The same of the index; a facet's counts leave its own choice out."""
    asked: dict[str, Any] = {"words": query["q"], "within": ("title", "code")}
    chosen = {name: query[key] for name, key in (("category", "category"), ("band", "price")) if key in query}
    found = store.search(SHAPE, where={"on_sale": True, **chosen}, limit=1000, **asked)
    counted = {
        name: store.search(SHAPE, where={"on_sale": True, **_without(chosen, name)}, facets=[name], **asked).facets[
            name
        ]
        for name in ("category", "band")
    }
    assert found.total == len(found.keys)
    return {key for (key,) in found.keys}, {
        "category": counted["category"],
        "price": {band: counted["band"].get(band, 0) for band in BANDS},
    }


def _without(chosen: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in chosen.items() if key != name}


def queries(choose: random.Random) -> Iterator[dict[str, str]]:
    for _ in range(15):
        query = {"q": " ".join(choose.choices((*WORDS, "C7", "nothing"), k=choose.randint(0, 2)))}
        if choose.random() < 0.5:
            query["category"] = choose.choice(CATEGORIES)
        if choose.random() < 0.3:
            query["price"] = choose.choice(BANDS)
        yield query


def test_the_same_words_find_the_same_products_in_both_engines_and_facets_agree(
    catalog: RunningService, engine: dict[str, str]
) -> None:
    """Fed twice, in any order, with older states between; asked again after products changed."""
    with override_settings(MIGRATION_TOOLS={"STORES": {"search": engine}}), closing(open_store("search")) as store:
        store.drop(SHAPE)
        store.prepare(SHAPE)
        agree(catalog, store)
        store.drop(SHAPE)


def agree(catalog: RunningService, store: Store) -> None:
    choose = random.Random(71)
    older = [VersionedRow(key=row.key, version=row.version - 1, values=None) for row in rows(catalog)]
    for _ in range(2):
        found = 0
        fed = [*rows(catalog), *choose.choices(older, k=60), *choose.choices(rows(catalog), k=60)]
        choose.shuffle(fed)
        for start in range(0, len(fed), 90):
            store.upsert(SHAPE, fed[start : start + 90])
        index = fresh(store, SHAPE)
        for query in queries(choose):
            said = by_service(catalog, query)
            assert by_index(index, query) == said, query
            found += len(said[0])
        assert found > 50
        catalog.rows(
            """UPDATE shelf_product SET title = 'blue стул', on_sale = id %% 2 = 0, version = version + 2
               WHERE id %% 3 = 0"""
        )


@pytest.mark.thorough
def test_orders_are_copied_synced_and_compared_in_an_index_as_in_any_store(
    stage: Stage, engine: dict[str, str]
) -> None:
    """The road of every replica: capture, copy, sync, compare; then the index is asked by words."""
    stores = dict.fromkeys(("analytics", "cache"), engine)
    chosen = {**settings.MIGRATION_TOOLS, "PLAYBOOKS": PLAYBOOKS, "STORES": stores}
    [orders, *_] = ReplicatedOrders.replicas
    with override_settings(MIGRATION_TOOLS=chosen):
        with following("default", "orders", orders) as follower:
            follower.store.drop(follower.bound.shape)
            for _chunk in copy_replica(follower, rows=100):
                write_a_little(stage)
        for _ in range(3):
            write_a_little(stage)
            with following("default", "orders", orders) as follower:
                at = -1
                while at != (at := follower.step().position):
                    pass
        with following("default", "orders", orders) as follower:
            _, result = compare_replica(follower)
            shape, store = follower.bound.shape, follower.store
            assert (result.count, result.rows_source > 250) == (0, True)
            wanted = stage.shop.execute(
                """SELECT id::text FROM orders_order
                   WHERE to_tsvector('simple', coalesce(note, '')) @@ to_tsquery('simple', 'ñ7')"""
            ).fetchall()
            assert fresh(store, shape).search(shape, "Ñ7", within=["remark"]).keys == wanted
            store.drop(shape)


def write_a_little(stage: Stage) -> None:
    stage.shop.execute("UPDATE orders_order SET note = 'ñ7 und mehr' WHERE id = (SELECT max(id) FROM orders_order)")
    stage.shop.execute("DELETE FROM orders_orderline WHERE order_id = (SELECT min(id) FROM orders_order)")
    stage.shop.execute("DELETE FROM orders_order WHERE id = (SELECT min(id) FROM orders_order)")
    stage.tick()


def test_an_index_of_other_columns_and_reserved_names_are_refused(tmp_path: Path) -> None:
    store = TantivyStore(str(tmp_path))
    with pytest.raises(StoreError, match="there is none yet"):
        store.search(SHAPE, "x", within=["title"])
    store.prepare(SHAPE)
    other = Shape(name="x", into="products", key=("id",), columns=SHAPE.columns[:2], declaration="2")
    with pytest.raises(StoreError, match="has other columns"):
        store.prepare(other)
    named = Shape(name="y", into="y", key=("_key",), columns=(Column(name="_key", type="text"),), declaration="1")
    with pytest.raises(StoreError, match="leave them out"):
        store.prepare(named)
