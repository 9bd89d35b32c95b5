"""A read model in Elasticsearch: the same merges as in the database, and a rebuild that searches never see half of.

Against osmem-server, or what ELASTICSEARCH_URL names; see tests.search_server.
"""

import contextlib
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.test import override_settings

from migration_tools.errors import StoreAway, StoreError
from migration_tools.messaging import handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handling import HandlerFailed, handle
from migration_tools.projections import Gone, Largest, Latest, Put, ReadModel, Steps, Table, on, registry
from migration_tools.projections.elasticsearch_rows import ElasticsearchRows
from migration_tools.projections.merging import Row, gone, put
from migration_tools.projections.slots import LIVE, Slot
from migration_tools.stores.elasticsearch.wire import Cluster
from tests.conftest import Cluster as Postgres
from tests.conftest import Pair, cloned_pair
from tests.integration.test_read_model_rebuild import rebuild
from tests.read_model_rig import history, install_models, publish, settle, undone
from tests.search_server import EmbeddedSearch, search_url

VIEWS = {"order_analytics": "order_id", "order_days": "day"}


class OrderAnalytics(ReadModel):
    """An order as it is counted, and the day on which it was placed, as documents."""

    name = "order_analytics"
    group = "dashboard"
    store = "search"
    tables: ClassVar = (
        Table(
            name="order_analytics",
            key={"order_id": "uuid"},
            source="orders",
            columns={
                "customer_id": Latest("bigint"),
                "total": Latest("numeric"),
                "currency": Latest("text"),
                "status": Steps("placed", "paid", "shipped", "cancelled"),
                "last_updated": Largest("timestamptz"),
            },
        ),
        Table(
            name="order_days",
            key={"customer_id": "bigint", "day": "date"},
            source="orders",
            columns={"last": Largest("timestamptz"), "lines": Latest("jsonb")},
        ),
    )

    @on("order.placed", stream="orders")
    def placed(self, event: Envelope) -> Any:
        said = event.payload
        values = {"customer_id": said["user_id"], "total": said["total"], "currency": said["currency"]}
        key = {"order_id": said["public_id"]}
        yield Put("order_analytics", key, {**values, "status": "placed", "last_updated": event.timestamp})
        day = {"customer_id": said["user_id"], "day": event.timestamp.date()}
        yield Put("order_days", day, {"last": event.timestamp, "lines": said["lines"]})

    @on("order.paid", stream="orders")
    @on("order.shipped", stream="orders")
    def moved(self, event: Envelope) -> Any:
        values = {"status": event.event_type.removeprefix("order."), "last_updated": event.timestamp}
        yield Put("order_analytics", {"order_id": event.payload["public_id"]}, values)

    @on("order.cancelled", stream="orders")
    def cancelled(self, event: Envelope) -> Any:
        yield Gone("order_analytics", {"order_id": event.payload["public_id"]})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with search_url() as named:
        yield named


@pytest.fixture
def store(url: str, cluster: Postgres, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Pair]:
    """A database with the read model's slot, and a server with its rows."""
    stores = {"search": {"ENGINE": "elasticsearch", "URL": url}}
    with (
        pytest.MonkeyPatch.context() as patch,
        cloned_pair(cluster, templates, django_db_blocker) as made,
        override_settings(MIGRATION_TOOLS={"STORES": stores}),
    ):
        patch.setattr(handlers, "_registry", {})
        patch.setattr(registry, "_registry", {})
        install_models(OrderAnalytics)
        yield made


@pytest.fixture
def rows(store: Pair, url: str) -> Iterator[ElasticsearchRows]:
    """What readers use, with nothing in it."""
    made = ElasticsearchRows(registry.get("order_analytics"), url)
    empty(made)
    yield made
    empty(made)
    made.close()


@pytest.fixture
def search(url: str) -> Iterator[Cluster]:
    """What searches; it knows the aliases alone."""
    made = Cluster(url)
    yield made
    made.close()


def empty(rows: ElasticsearchRows) -> None:
    for number in (1, 2, 3):
        rows.drop(number)


def expected(events: list[Envelope]) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """The rows by the merge alone, in the order of the stream, by table and key."""
    model = registry.get("order_analytics")
    found: dict[str, dict[tuple[Any, ...], Row]] = {view: {} for view in VIEWS}
    for event in sorted(events, key=lambda each: each.position):
        for taken in model.taken():
            if taken.event_type == event.event_type:
                for change in model.changes(taken, event):
                    table, key = model.table(change.table), tuple(change.key.items())
                    row = found[table.name].get(key, Row())
                    found[table.name][key] = (
                        put(table, row, change.values, stream="orders", position=event.position, erases=True)
                        if isinstance(change, Put)
                        else gone(row, erases=True)
                    )
    return {
        view: {key: {**dict(key), **row.values} for key, row in kept.items() if row.present}
        for view, kept in found.items()
    }


def of_orders(seed: int, length: int) -> list[Envelope]:
    return [event for event in history(random.Random(seed), length) if event.stream == "orders"]


def deliver(events: list[Envelope]) -> None:
    with transaction.atomic():
        for event in events:
            handle(event, "dashboard")


def shown(rows: ElasticsearchRows, want: dict[str, dict[tuple[Any, ...], dict[str, Any]]]) -> Any:
    return {view: {key: rows.read(view, dict(key)) for key in kept} for view, kept in want.items()}


def test_shuffled_and_repeated_events_leave_the_same_documents(rows: ElasticsearchRows, search: Cluster) -> None:
    for seed in range(3):
        empty(rows)
        events, choose = of_orders(seed, 40), random.Random(seed)
        twisted = [*events, *choose.choices(events, k=10)]
        choose.shuffle(twisted)
        deliver(twisted)
        want = expected(events)
        assert shown(rows, want) == want
        orders = want["order_analytics"].values()
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


def test_an_event_whose_transaction_was_undone_is_delivered_again_without_harm(rows: ElasticsearchRows) -> None:
    events = of_orders(9, 30)
    for _ in range(2):
        with undone():
            for event in events:
                handle(event, "dashboard")
    deliver(events)
    want = expected(events)
    assert shown(rows, want) == want


def test_rows_that_are_gone_or_not_there_yet_are_in_no_search_and_stay_gone(
    rows: ElasticsearchRows, search: Cluster
) -> None:
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


class Meanwhile(dict[str, Any]):
    """Values that let another write, once, between the reading of a row and its writing."""

    def __init__(self, values: dict[str, Any], other: Callable[[], None]):
        super().__init__(values)
        self._others = [other]

    def items(self) -> Any:
        while self._others:
            self._others.pop()()
        return super().items()


def test_what_another_writes_between_reading_and_writing_is_not_lost(rows: ElasticsearchRows) -> None:
    """Consumers take turns by a lock; a rebuild's consumer and a mistaken second one do not."""
    slot = Slot(
        model="order_analytics", number=1, state=LIVE, fingerprint="", version=1, held={}, origins={}, after={},
        complete=(),
    )  # fmt: skip
    key = {"order_id": "00000000-0000-0000-0000-000000000001"}

    def write(position: int, values: Mapping[str, Any]) -> None:
        rows.apply(slot, [Put("order_analytics", key, values)], stream="orders", position=position, shown=True)

    # First a row that nobody has made yet, then one that is there.
    write(1, Meanwhile({"total": "1.00"}, lambda: write(2, {"currency": "EUR"})))
    assert rows.read("order_analytics", key) == {**key, "total": Decimal("1.00"), "currency": "EUR"}
    write(4, Meanwhile({"total": "2.00"}, lambda: write(3, {"currency": "CHF"})))
    assert rows.read("order_analytics", key) == {**key, "total": Decimal("2.00"), "currency": "CHF"}


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
    stop, seen, reading = threading.Event(), list[Any](), threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                seen.append(totals(search))
                reading.set()
        except StoreError as error:
            seen.append(error)
            reading.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert reading.wait(30)
        assert [rebuild("order_analytics").slot, rebuild("order_analytics").slot] == [2, 3]
    finally:
        stop.set()
        reader.join()
    assert set(seen) == {everything}
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


def place(number: int) -> str:
    key = f"00000000-0000-0000-0000-{number:012}"
    said = {"order_id": number, "public_id": key, "user_id": number % 3, "total": "1.50", "currency": "EUR"}
    publish("orders", "order.placed", key, {**said, "lines": []})
    return key


def test_a_server_that_forgot_is_filled_by_a_rebuild_and_a_lost_alias_comes_back(
    rows: ElasticsearchRows, search: Cluster
) -> None:
    key = place(1)
    settle("orders")
    live = rows.read("order_analytics", {"order_id": key})
    assert live is not None
    empty(rows)
    assert rows.read("order_analytics", {"order_id": key}) is None
    assert rebuild("order_analytics").slot == 2
    assert rows.read("order_analytics", {"order_id": key}) == live
    search.ask("DELETE", "/order_analytics-s2/_alias/order_analytics")
    assert rows.read("order_analytics", {"order_id": key}) is None
    publish("orders", "order.paid", key, {"order_id": 1, "public_id": key, "amount": "1.50"})
    settle("orders")
    found = rows.read("order_analytics", {"order_id": key})
    assert found is not None
    assert found["status"] == "paid"


@pytest.mark.skipif(bool(os.environ.get("ELASTICSEARCH_URL")), reason="ends the server")
def test_while_the_server_is_away_no_event_is_given_up(store: Pair) -> None:
    event = next(event for event in of_orders(1, 30) if event.event_type == "order.placed")
    key = {"order_id": event.payload["public_id"]}
    with (
        EmbeddedSearch() as server,
        contextlib.closing(ElasticsearchRows(registry.get("order_analytics"), server.url)) as rows,
        override_settings(MIGRATION_TOOLS={"STORES": {"search": {"ENGINE": "elasticsearch", "URL": server.url}}}),
    ):
        server.kill()
        with pytest.raises(HandlerFailed) as told, transaction.atomic():
            handle(event, "dashboard")
        assert told.value.passing
        with pytest.raises(StoreAway, match=r"store 'search': Elasticsearch does not answer .*; nothing is lost"):
            rows.read("order_analytics", key)
        server.start()
        deliver([event])
        assert rows.read("order_analytics", key) is not None
