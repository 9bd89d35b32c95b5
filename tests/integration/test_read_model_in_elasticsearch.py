"""A read model in Elasticsearch: the same merges as in the database, and a rebuild that searches never see half of.

Against osmem-server, or what ELASTICSEARCH_URL names; see tests.search_server.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from migration_tools.projections import registry
from migration_tools.projections.elasticsearch_rows import ElasticsearchRows
from migration_tools.stores.elasticsearch.wire import Cluster
from tests.conftest import Cluster as Postgres
from tests.conftest import Pair
from tests.elsewhere_rig import (
    VIEWS,
    Promises,
    deliver,
    empty,
    expected,
    of_orders,
    place,
    seen_while_rebuilt,
    stored,
    twisted,
)
from tests.read_model_rig import settle
from tests.search_server import EmbeddedSearch, search_url


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with search_url() as named:
        yield named


@pytest.fixture
def store(url: str, cluster: Postgres, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Pair]:
    with stored(cluster, templates, django_db_blocker, "elasticsearch", url) as made:
        yield made


@pytest.fixture
def rows(store: Pair, url: str) -> Iterator[ElasticsearchRows]:
    """What readers use, with nothing in it."""
    with contextlib.closing(ElasticsearchRows(registry.get("order_analytics"), url)) as made:
        empty(made)
        yield made
        empty(made)


@pytest.fixture
def search(url: str) -> Iterator[Cluster]:
    """What searches; it knows the aliases alone."""
    made = Cluster(url)
    yield made
    made.close()


@pytest.fixture
def lose(search: Cluster) -> Callable[[], None]:
    """Take the alias of one table away."""
    return lambda: search.ask("DELETE", "/order_analytics-s2/_alias/order_analytics")


class TestPromisesInElasticsearch(Promises):
    engine = "elasticsearch"
    says = "Elasticsearch"
    server = EmbeddedSearch
    opens = ElasticsearchRows
    variable = "ELASTICSEARCH_URL"


def test_rows_are_counted_and_summed_by_the_engine(rows: ElasticsearchRows, search: Cluster) -> None:
    for seed in range(3):
        empty(rows)
        events = of_orders(seed, 40)
        deliver(twisted(events, seed))
        orders = expected(events)["order_analytics"].values()
        assert counted(search) == (
            Counter(order["status"] for order in orders),
            float(sum(order["total"] for order in orders)),
            Counter(order["last_updated"].minute for order in orders),
        )


def counted(search: Cluster) -> tuple[Counter[str], float, Counter[int]]:
    """Orders by status, their money, and orders by minute, as the engine counts them."""
    search.refresh("order_analytics")
    aggregations = {
        "by_status": {"terms": {"field": "status.exact"}},
        "money": {"sum": {"field": "total"}},
        "by_minute": {"date_histogram": {"field": "last_updated", "fixed_interval": "1m", "min_doc_count": 1}},
    }
    found = search.search("order_analytics", {"size": 0, "aggs": aggregations})["aggregations"]
    return (
        Counter({each["key"]: each["doc_count"] for each in found["by_status"]["buckets"]}),
        pytest.approx(found["money"]["value"]),
        Counter({each["key"] // 60_000 % 60: each["doc_count"] for each in found["by_minute"]["buckets"]}),
    )


def test_rows_that_are_gone_or_not_there_yet_are_in_no_search(rows: ElasticsearchRows, search: Cluster) -> None:
    events = of_orders(5, 60)
    cancelled = {event.payload["public_id"] for event in events if event.event_type == "order.cancelled"}
    assert cancelled
    deliver(events[::-1])
    deliver([event for event in events if event.event_type == "order.placed"])
    search.refresh("order_analytics")
    found = search.search("order_analytics", {"size": 1000})["hits"]["hits"]
    assert {hit["_source"]["order_id"] for hit in found} == {
        order["order_id"] for order in expected(events)["order_analytics"].values()
    }
    kept = search.search("order_analytics-s1", {"size": 1000})["hits"]["hits"]
    assert len(kept) == len(found) + len(cancelled)
    assert all(
        set(hit["_source"]) == {"order_id", "strangle"} for hit in kept if not hit["_source"]["strangle"]["live"]
    )


def test_a_rebuild_swaps_all_tables_at_once_and_no_search_sees_half_of_them(
    rows: ElasticsearchRows, search: Cluster
) -> None:
    for number in range(1, 13):
        place(number)
    settle("orders")
    search.refresh("order_analytics,order_days")
    everything = totals(search)
    assert everything[0] == 12
    assert everything[1] >= 3
    assert set(seen_while_rebuilt(lambda: totals(search))) == {everything}
    _, found = search.ask("GET", f"/_alias/{','.join(VIEWS)}")
    assert {index: set(each["aliases"]) for index, each in found.items()} == {f"{view}-s3": {view} for view in VIEWS}
    for view in VIEWS:
        assert search.ask("HEAD", f"/{view}-s2", expecting={404})[0] == 404


def totals(search: Cluster) -> tuple[int, ...]:
    """How many rows one search sees of each table, in one request."""
    body = {
        "size": 0,
        "track_total_hits": True,
        "aggs": {view: {"filter": {"exists": {"field": field}}} for view, field in VIEWS.items()},
    }
    found = search.search(",".join(VIEWS), body)["aggregations"]
    return tuple(found[view]["doc_count"] for view in VIEWS)
