"""A read model in MongoDB: the same merges as in the database, and a rebuild of which no question sees half.

Against BriskDB, or what MONGODB_URL names; see tests.document_server.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from bson.decimal128 import Decimal128

from migration_tools.errors import StoreError
from migration_tools.projections import Latest, Put, ReadModel, Table, registry
from migration_tools.projections.mongodb_rows import POINTERS, MongoRows
from migration_tools.testing.mongodb import EmbeddedMongo
from tests.conftest import Cluster, Pair
from tests.document_server import mongodb_url
from tests.elsewhere_rig import (
    FIRST,
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
from tests.integration.test_read_model_rebuild import rebuild
from tests.read_model_rig import settle

THERE = {"strangle.live": True}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with mongodb_url() as named:
        yield named


@pytest.fixture
def store(url: str, cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Pair]:
    with stored(cluster, templates, django_db_blocker, "mongodb", url) as made:
        yield made


@pytest.fixture
def rows(store: Pair, url: str) -> Iterator[MongoRows]:
    """What readers use, with nothing in it."""
    with contextlib.closing(MongoRows(registry.get("order_analytics"), url)) as made:
        empty(made)
        yield made
        empty(made)


@pytest.fixture
def lose(rows: MongoRows) -> Callable[[], None]:
    """Forget which slot is shown."""
    return lambda: rows._database[POINTERS].drop()


class TestPromisesInMongoDB(Promises):
    engine = "mongodb"
    says = "MongoDB"
    server = EmbeddedMongo
    opens = MongoRows
    patience = "&serverSelectionTimeoutMS=300"
    seeds = 1
    variable = "MONGODB_URL"


def test_rows_are_counted_and_summed_by_the_engine_without_those_that_are_gone(rows: MongoRows) -> None:
    events = of_orders(2, 60)
    deliver(twisted(events, 2))
    want = expected(events)["order_analytics"].values()
    by_status: list[Any] = [
        {"$match": THERE},
        {"$group": {"_id": "$status", "orders": {"$sum": 1}, "money": {"$sum": "$total"}}},
    ]
    found = rows.ask(lambda of: list(of("order_analytics").aggregate(by_status)))
    assert {each["_id"]: each["orders"] for each in found} == Counter(order["status"] for order in want)
    assert sum(each["money"].to_decimal() for each in found) == sum(order["total"] for order in want)
    last = max(order["last_updated"] for order in want).isoformat()
    assert len(rows.ask(lambda of: list(of("order_analytics").find({**THERE, "last_updated": {"$gte": last}})))) == 1
    assert rows.ask(lambda of: of("order_analytics").count_documents({})) > len(want)


def test_numbers_that_no_decimal_of_the_engine_holds_are_kept_to_the_digit(rows: MongoRows) -> None:
    for number, total in enumerate(["1" * 40, "1.50", "-0.00", "1e400"], 1):
        key = {"order_id": f"00000000-0000-0000-0000-{number:012}"}
        rows.apply(FIRST, [Put("order_analytics", key, {"total": total})], stream="orders", position=1, shown=True)
        assert rows.read("order_analytics", key) == {**key, "total": Decimal(total)}
    kinds = rows.ask(lambda of: [type(each["total"]) for each in of("order_analytics").find().sort("_id", 1)])
    assert kinds == [str, Decimal128, Decimal128, Decimal128]


def test_what_no_document_can_hold_is_refused_by_name_alone(rows: MongoRows) -> None:
    key = {"order_id": "00000000-0000-0000-0000-000000000001"}
    with pytest.raises(StoreError, match=r"store 'elsewhere': MongoDB failed \(OverflowError\)") as told:
        rows.apply(
            FIRST, [Put("order_analytics", key, {"customer_id": 2**70})], stream="orders", position=1, shown=True
        )
    assert str(2**70) not in str(told.value)


def test_a_document_that_somebody_else_put_in_is_named_and_left_alone(rows: MongoRows) -> None:
    key = {"order_id": "00000000-0000-0000-0000-000000000001"}
    rows._collection(1, "order_analytics").insert_one({"_id": key["order_id"], "status": "mine"})
    change = Put("order_analytics", key, {"status": "paid"})
    with pytest.raises(StoreError, match="a document of 'order_analytics' is somebody else's"):
        rows.apply(FIRST, [change], stream="orders", position=1, shown=True)
    assert rows._collection(1, "order_analytics").find_one({"_id": key["order_id"]})["status"] == "mine"


def test_a_column_named_as_what_stands_beside_a_row_is_refused(url: str) -> None:
    class Named(ReadModel):
        name = "named"
        store = "elsewhere"
        tables = (Table(name="named", key={"_id": "bigint"}, source="orders", columns={"note": Latest("text")}),)

    with pytest.raises(StoreError, match="column '_id' of 'named' is named as what stands beside a row"):
        MongoRows(Named(), url)


def test_a_rebuild_swaps_all_tables_at_once_and_no_question_sees_half_of_them(rows: MongoRows) -> None:
    for number in range(1, 13):
        place(number)
    settle("orders")
    everything = totals(rows)
    assert everything[0] == 12
    assert everything[1] >= 3
    assert set(seen_while_rebuilt(lambda: totals(rows))) == {everything}
    kept = {name for name in rows._database.list_collection_names() if name.partition(".s")[0] in VIEWS}
    assert kept == {f"{view}.s3" for view in VIEWS}


def test_a_question_that_a_swap_overtakes_is_asked_again(rows: MongoRows) -> None:
    """Between two tables of one question the slot is swapped and dropped, each time but the last."""
    place(1)
    settle("orders")
    asked = []

    def both(of: Callable[[str], Any]) -> tuple[int, int]:
        orders = of("order_analytics").count_documents(THERE)
        if len(asked) < 2:
            asked.append(rebuild("order_analytics").slot)
        return orders, of("order_days").count_documents(THERE)

    assert rows.ask(both) == (1, 1)
    assert asked == [2, 3]


def totals(rows: MongoRows) -> tuple[int, ...]:
    """How many rows one question sees of each table."""
    return rows.ask(lambda of: tuple(of(view).count_documents(THERE) for view in VIEWS))
