"""What Elasticsearch's adapter sends, and what it says of answers that a server gives on its bad days."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from migration_tools.errors import StoreAway, StoreError
from migration_tools.stores.elasticsearch import store as adapter
from migration_tools.stores.elasticsearch.documents import index_of, mapping
from migration_tools.stores.elasticsearch.store import ElasticsearchStore
from migration_tools.stores.ports import Column, Shape, VersionedRow
from tests.search_stand_in import NOTHING, StandIn, stand_in

SHAPE = Shape(
    name="shop.products",
    into="products",
    key=("id",),
    columns=(Column(name="id", type="bigint"), Column(name="title", type="text")),
    declaration="1",
)


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A server that answers what the test says, else with nothing found."""
    with stand_in() as said:
        yield said


@pytest.fixture
def store(server: StandIn) -> Iterator[ElasticsearchStore]:
    """The adapter at the stand-in."""
    made = ElasticsearchStore(server.url)
    yield made
    made.close()


def rows(count: int, size: int = 1) -> list[VersionedRow]:
    return [VersionedRow(key=(str(n),), version=n, values=(str(n), "secret" * size)) for n in range(count)]


def test_user_and_password_go_into_a_header_and_into_no_log_and_no_message(
    server: StandIn, store: ElasticsearchStore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        store.upsert(SHAPE, rows(1))
        server.answers["_bulk"] = (401, {"error": {"type": "security_exception", "reason": "no hu:sh"}, "status": 401})
        with pytest.raises(StoreError, match="refused: 401 security_exception; see the user in the store's URL") as no:
            store.upsert(SHAPE, rows(1))
    assert {said for _, said, _ in server.asked} == {"Basic c2hvcDpodTpzaA=="}
    assert not any("hu" in text for text in (caplog.text, str(no.value)))


def test_a_large_batch_is_sent_in_parts_none_of_which_is_too_large_for_a_server(
    server: StandIn, store: ElasticsearchStore
) -> None:
    store.upsert(SHAPE, rows(12, 200_000))
    bulks = [body for asked, _, body in server.asked if "_bulk" in asked]
    assert len(bulks) == 3
    assert sum(body.count("\n") for body in bulks) == 24
    assert all(len(body) <= adapter.BULK_BYTES for body in bulks)


@pytest.mark.parametrize(
    "answer",
    [
        {**NOTHING, "_shards": {"failed": 1}},
        {**NOTHING, "timed_out": True},
    ],
    ids=["a shard did not answer", "time was up"],
)
@pytest.mark.parametrize("asked", ["_search", "_refresh"])
def test_a_part_of_an_index_is_no_index(
    server: StandIn, store: ElasticsearchStore, answer: dict[str, Any], asked: str
) -> None:
    server.answers[asked] = (200, answer)
    with pytest.raises(StoreAway, match="a part of the index did not answer"):
        store.digest(SHAPE, 64)


def test_comparing_begins_with_a_refresh_since_searches_see_what_was_written_only_then(
    server: StandIn, store: ElasticsearchStore
) -> None:
    assert store.digest(SHAPE, 64) == {}
    assert [asked for asked, _, _ in server.asked] == [
        "POST /products/_refresh",
        "POST /products/_search?allow_partial_search_results=false",
    ]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_cannot_answer_now_is_one_that_is_away(
    server: StandIn, store: ElasticsearchStore, status: int
) -> None:
    server.answers["_bulk"] = (status, "<html>")
    with pytest.raises(StoreAway, match=f"cannot answer now .status {status}."):
        store.upsert(SHAPE, rows(1))


def test_rows_that_a_busy_server_turned_away_are_sent_again_with_their_batch(
    server: StandIn, store: ElasticsearchStore
) -> None:
    turned_away = {"index": {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "secret"}}}
    server.answers["_bulk"] = (200, {"errors": True, "items": [{"index": {"status": 201}}, turned_away]})
    with pytest.raises(StoreAway, match=r"cannot take 1 rows now: .*429 es_rejected_execution_exception"):
        store.upsert(SHAPE, rows(2))


def test_what_is_no_elasticsearch_is_named_so(server: StandIn, store: ElasticsearchStore) -> None:
    server.answers["_doc"] = (200, "<html>a proxy's page</html>")
    with pytest.raises(StoreError, match="is no Elasticsearch"):
        store.progress(SHAPE)
    with pytest.raises(StoreError, match="must be http"):
        ElasticsearchStore("elasticsearch://secret@place")


def test_a_facet_of_more_values_than_are_counted_is_refused(server: StandIn, store: ElasticsearchStore) -> None:
    counted = {"title": {"sum_other_doc_count": 3, "buckets": []}}
    server.answers["_search"] = (200, {**NOTHING, "hits": {"hits": [], "total": {"value": 0}}, "aggregations": counted})
    with pytest.raises(StoreError, match="the facet 'title' has more than"):
        store.search(SHAPE, facets=["title"])


def test_names_that_an_index_cannot_have_are_written_out_each_as_its_own() -> None:
    names = ["order:{id}", "order_{id}", "a+3a", "a:", "aÜ", "aü", "aA", "a a", "a-b.c_d9"]
    indexes = [index_of(name) for name in names]
    assert indexes[0] == "order+3a+7bid+7d"
    assert indexes[-1] == names[-1]
    assert len(set(indexes)) == len(names)
    for wrong in ("", "Orders", "_orders", "-o", ".o", "x" * 256, ":"):
        with pytest.raises(StoreError, match="cannot be an index"):
            index_of(wrong)


def test_columns_that_no_document_can_have_are_refused() -> None:
    store = ElasticsearchStore("http://127.0.0.1:1")
    named = ("_id", "a.b", "strangle", "fine")
    wrong = Shape(
        name="x", into="x", key=("fine",), columns=tuple(Column(name=n, type="text") for n in named), declaration="1"
    )
    with pytest.raises(StoreError, match=r"columns \['_id', 'a.b', 'strangle'\] are named as no field"):
        store.prepare(wrong)
    store.close()


def test_binary_columns_are_kept_and_have_no_field() -> None:
    shape = Shape(name="x", into="x", key=("id",), columns=(Column(name="raw", type="bytea"),), declaration="1")
    assert list(mapping(shape)["properties"]) == ["strangle"]
