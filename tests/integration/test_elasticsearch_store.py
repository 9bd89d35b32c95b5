"""What is Elasticsearch's own in its adapter: versions it forgets, indexes it makes unasked, rows it refuses.

Against osmem-server, or what ELASTICSEARCH_URL names; see tests.search_server.
"""

import os
import time
from collections.abc import Iterator

import pytest

from migration_tools.errors import StoreAway, StoreError
from migration_tools.stores.elasticsearch.documents import identity, index_of
from migration_tools.stores.elasticsearch.store import ElasticsearchStore
from migration_tools.stores.elasticsearch.wire import Cluster
from migration_tools.stores.ports import Shape, VersionedRow
from tests.goods import SHAPE, gone, held, row
from tests.search_server import EmbeddedSearch, search_url

FORGOTTEN_SECONDS = 90.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with search_url() as named:
        yield named


@pytest.fixture
def store(url: str) -> Iterator[ElasticsearchStore]:
    """The adapter with an empty index."""
    made = ElasticsearchStore(url)
    made.drop(SHAPE)
    made.prepare(SHAPE)
    yield made
    made.drop(SHAPE)
    made.close()


@pytest.fixture
def cluster(url: str) -> Iterator[Cluster]:
    """Requests beside the adapter's."""
    made = Cluster(url)
    yield made
    made.close()


def test_an_older_row_does_not_come_back_when_the_engine_has_forgotten_its_deletions(
    store: ElasticsearchStore, cluster: Cluster
) -> None:
    """The engine forgets the version of a document that it deleted; a tombstone is one that it did not delete."""
    index = index_of(SHAPE.into)
    cluster.ask("PUT", f"/{index}/_settings", {"index": {"gc_deletes": "1ms"}})
    store.upsert(SHAPE, [row(1, 5)])
    store.upsert(SHAPE, [gone(1, 9)])
    place, newer, older = (f"/{index}/_doc/{identity(('2',))}", *versions(9, 7))
    cluster.ask("PUT", place, {}, params=versions(5)[0])
    cluster.ask("DELETE", place, params=newer)
    deadline = time.monotonic() + FORGOTTEN_SECONDS
    while cluster.ask("PUT", place, {}, params=older, expecting={409})[0] == 409:
        assert time.monotonic() < deadline, "the engine remembers: then the tombstone would not be needed"
        cluster.refresh(index)
    cluster.ask("DELETE", place, params=newer)
    store.upsert(SHAPE, [row(1, 7)])
    assert held(store) == {}
    store.upsert(SHAPE, [row(1, 9)])
    assert held(store) == {("1",): 9}


def versions(*given: int) -> list[dict[str, str | int]]:
    return [{"version": version, "version_type": "external_gte"} for version in given]


def test_searches_and_facets_leave_tombstones_out(store: ElasticsearchStore) -> None:
    store.upsert(SHAPE, [row(1, 1), row(2, 1, "blue lamp"), row(3, 1, None), gone(4, 1)])
    store.upsert(SHAPE, [gone(1, 2)])
    store.refresh(SHAPE)
    found = store.search(SHAPE, facets=["title"])
    assert (sorted(found.keys), found.total, found.facets) == ([("2",), ("3",)], 2, {"title": {"blue lamp": 1}})
    assert store.search(SHAPE, "LAMP red", within=["title"]).keys == []
    assert store.search(SHAPE, "lamp, BLUE!", within=["title"], where={"seen": "2026-01-02"}).keys == [("2",)]
    with pytest.raises(StoreError, match=r"not searched by \['raw', 'titel'\]; by \['id', 'price'"):
        store.search(SHAPE, within=["titel"], facets=["raw"])
    with pytest.raises(StoreError, match="10,000 rows at most"):
        store.search(SHAPE, limit=10_001)


def test_prices_are_found_by_range_and_kept_to_the_cent(store: ElasticsearchStore, cluster: Cluster) -> None:
    store.upsert(SHAPE, [row(1, 1, price="9999999999.99"), row(2, 1, price="NaN"), row(3, 1, price="1.50")])
    store.refresh(SHAPE)
    found = cluster.search(index_of(SHAPE.into), {"query": {"range": {"price": {"gt": 1.5, "lte": 1e10}}}})
    assert [hit["_source"]["price"] for hit in found["hits"]["hits"]] == ["9999999999.99"]
    assert store.read(SHAPE, [("2",)])[("2",)].values[2] == "NaN"


def test_texts_longer_than_a_term_may_be_are_taken_whole_and_found_by_their_words(store: ElasticsearchStore) -> None:
    title = "lamp " + "ü" * 40_000
    store.upsert(SHAPE, [row(1, 1, title)])
    store.refresh(SHAPE)
    assert store.read(SHAPE, [("1",)])[("1",)].values[1] == title
    assert store.search(SHAPE, "lamp", within=["title"], facets=["title"]).facets == {"title": {}}
    assert store.search(SHAPE, "lamp", within=["title"]).keys == [("1",)]


def test_a_refused_row_is_named_by_its_column_without_its_value_and_the_others_are_taken(
    store: ElasticsearchStore,
) -> None:
    too_long = "9" * 30
    wrong = VersionedRow(key=(too_long,), version=1, values=(too_long, "x", None, None, None, None))
    with pytest.raises(StoreError, match=r"refused 1 rows of 3: .*exception at column 'id'") as told:
        store.upsert(SHAPE, [row(1, 1), wrong, row(2, 1)])
    assert "999" not in str(told.value)
    assert held(store) == {("1",): 1, ("2",): 1}


def test_an_index_that_is_gone_is_not_made_by_the_engine_with_a_mapping_of_its_own(
    store: ElasticsearchStore, cluster: Cluster
) -> None:
    cluster.ask("DELETE", f"/{index_of(SHAPE.into)}")
    with pytest.raises(StoreError, match="there is no index 'shop_goods'; drop the replica, then copy anew"):
        store.upsert(SHAPE, [row(1, 1)])
    with pytest.raises(StoreError, match="404 index_not_found_exception"):
        store.read(SHAPE, [("1",)])
    assert cluster.ask("HEAD", f"/{index_of(SHAPE.into)}", expecting={404})[0] == 404


def test_an_index_of_other_columns_and_documents_of_others_are_refused(
    store: ElasticsearchStore, cluster: Cluster
) -> None:
    other = Shape(name="x", into=SHAPE.into, key=("id",), columns=SHAPE.columns[:2], declaration="2")
    with pytest.raises(StoreError, match="has other columns; drop the replica"):
        store.prepare(other)
    store.upsert(SHAPE, [row(1, 1)])
    cluster.ask("PUT", f"/{index_of(SHAPE.into)}/_doc/7", {"id": 7, "title": "somebody else's"})
    with pytest.raises(StoreError, match="has documents that are none of the replica's"):
        store.digest(SHAPE, 64)


def test_a_value_that_somebody_changed_is_a_difference(store: ElasticsearchStore, cluster: Cluster) -> None:
    store.upsert(SHAPE, [row(1, 1), row(2, 1), row(3, 1)])
    right = store.digest(SHAPE, 1)
    for key, wrong in ((1, {"price": 1.5}), (2, {"title": "x"})):
        cluster.ask("POST", f"/{index_of(SHAPE.into)}/_update/{identity((str(key),))}", {"doc": wrong})
        assert store.digest(SHAPE, 1) != right
        store.upsert(SHAPE, [row(key, 2)])
        assert store.digest(SHAPE, 1) == right


@pytest.mark.skipif(bool(os.environ.get("ELASTICSEARCH_URL")), reason="ends the server")
def test_a_server_that_is_away_says_so_and_a_copy_begins_anew_when_it_forgot_all() -> None:
    with EmbeddedSearch() as server:
        store = ElasticsearchStore(server.url)
        store.prepare(SHAPE)
        store.upsert(SHAPE, [row(1, 1)])
        server.kill()
        with pytest.raises(StoreAway, match=r"Elasticsearch does not answer .*; start it, then run the same command"):
            store.upsert(SHAPE, [row(2, 2)])
        server.start()
        assert store.progress(SHAPE) is None
        store.prepare(SHAPE)
        store.upsert(SHAPE, [row(1, 1), row(2, 2)])
        assert held(store) == {("1",): 1, ("2",): 2}
        store.close()
