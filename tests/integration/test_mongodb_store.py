"""What is MongoDB's own in its adapter: values of another type, documents of others, servers that are away or deaf.

Against BriskDB, or what MONGODB_URL names; see tests.document_server.
"""

import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from pymongo.errors import BulkWriteError, ExecutionTimeout, OperationFailure, WTimeoutError

from migration_tools.errors import StoreAway, StoreError
from migration_tools.stores.mongodb import MongoStore
from migration_tools.stores.mongodb_client import answering
from migration_tools.stores.ports import Column, Progress, Shape
from migration_tools.testing.deaf_proxy import DeafProxy
from migration_tools.testing.mongodb import EmbeddedMongo
from tests.document_server import mongodb_url
from tests.goods import SHAPE, gone, held, row


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with mongodb_url() as named:
        yield named


@pytest.fixture
def store(url: str) -> Iterator[MongoStore]:
    """The adapter with an empty collection."""
    with contextlib.closing(MongoStore(url)) as made:
        made.drop(SHAPE)
        made.prepare(SHAPE)
        yield made
        made.drop(SHAPE)


@pytest.fixture
def goods(url: str) -> Iterator[Any]:
    """The collection, beside the adapter."""
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        yield client.get_default_database()[SHAPE.into]


def test_a_document_has_bson_s_own_types_and_a_row_that_is_gone_leaves_its_version(
    store: MongoStore, goods: Any
) -> None:
    store.upsert(SHAPE, [row(1, 4, None), row(2, 4)])
    store.upsert(SHAPE, [gone(2, 5)])
    assert {each["_id"]: each for each in goods.find()} == {
        "1": {
            "_id": "1", "_version": 4, "_deleted": False, "id": Int64(1), "title": None, "price": Decimal128("1.50"),
            "seen": "2026-01-02", "raw": "\\x00ff", "sold": True,
        },
        "2": {"_id": "2", "_version": 5, "_deleted": True},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ("price", 1.5),
        ("price", "1.50"),
        ("id", Decimal128("1")),
        ("id", "1"),
        ("sold", 1),
        ("sold", "true"),
        ("seen", dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
        ("title", None),
        ("title", {"de": "red lamp"}),
    ],
)
def test_a_value_that_is_the_same_but_of_another_type_is_a_difference(
    store: MongoStore, goods: Any, column: str, wrong: Any
) -> None:
    store.upsert(SHAPE, [row(1, 1)])
    right = store.digest(SHAPE, 1)
    goods.update_one({"_id": "1"}, {"$set": {column: wrong}})
    assert store.digest(SHAPE, 1) != right
    store.upsert(SHAPE, [row(1, 1)])
    assert store.digest(SHAPE, 1) == right


@pytest.mark.parametrize("theirs", [{}, {"_version": "9"}, {"_version": None}])
def test_a_document_that_somebody_else_put_there_gives_way_to_the_row(
    store: MongoStore, goods: Any, theirs: dict[str, Any]
) -> None:
    goods.insert_many([{"_id": "1", "title": "theirs", **theirs}, {"_id": "2", "title": "theirs", **theirs}])
    store.upsert(SHAPE, [row(1, 1), gone(2, 1)])
    assert held(store) == {("1",): 1}


def test_names_that_a_document_has_beside_a_row_are_refused_as_columns(store: MongoStore) -> None:
    columns = (*SHAPE.columns, Column(name="_version", type="bigint"))
    with pytest.raises(StoreError, match=r"columns \['_version'\] are named as what the replica keeps beside a row"):
        store.prepare(Shape(name="x", into="x", key=("id",), columns=columns, declaration="1"))


def test_a_row_larger_than_a_document_may_be_is_refused_without_its_values(store: MongoStore) -> None:
    with pytest.raises(StoreError, match=r"MongoDB failed \(DocumentTooLarge\)") as told:
        store.upsert(SHAPE, [row(1, 1, "x" * 17_000_000)])
    assert "xxx" not in str(told.value)
    assert not isinstance(told.value, StoreAway)


def test_a_url_that_is_none_is_refused_without_being_repeated() -> None:
    with pytest.raises(StoreError, match=r"MongoDB failed \(InvalidURI\)") as told:
        MongoStore("mongo://me:secret@nowhere")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "late",
    [
        ExecutionTimeout("late", 50),
        WTimeoutError("too few", 64),
        OperationFailure("conflict", 112),
        BulkWriteError({"writeErrors": [{"code": 112}, {"code": 11_000}]}),
    ],
)
def test_a_server_that_is_too_busy_is_away(late: Exception) -> None:
    with pytest.raises(StoreAway, match=r"MongoDB (does not answer|was busy)"), answering():
        raise late


def test_rows_that_are_refused_for_good_are_told_by_code() -> None:
    faults: dict[str, Any] = {"writeErrors": [{"code": 112}, {"code": 121, "errmsg": "the values"}]}
    with pytest.raises(StoreError, match=r"MongoDB refused rows: codes \[112, 121\]$") as told, answering():
        raise BulkWriteError(faults)
    assert not isinstance(told.value, StoreAway)


@pytest.mark.skipif(bool(os.environ.get("MONGODB_URL")), reason="ends the server")
def test_a_server_that_is_away_or_deaf_says_so_and_what_was_written_is_there_when_it_is_back() -> None:
    progress = Progress(declaration="1", position=1)
    with EmbeddedMongo() as server, DeafProxy(server.port) as proxy:
        patience = "&serverSelectionTimeoutMS=300&socketTimeoutMS=300"
        with (
            contextlib.closing(MongoStore(server.url + patience)) as store,
            contextlib.closing(MongoStore(server.url_at(proxy.port) + patience)) as far,
        ):
            store.upsert(SHAPE, [row(1, 1)])
            store.remember(SHAPE, progress)
            assert held(far) == {("1",): 1}
            proxy.deafen(towards_client=0)
            with pytest.raises(StoreAway, match=r"MongoDB does not answer \(\w+\); start it, then run the same"):
                far.read(SHAPE, [("1",)])
            server.kill()
            for work in (lambda: store.upsert(SHAPE, [row(2, 2)]), lambda: store.digest(SHAPE, 1)):
                with pytest.raises(StoreAway, match=r"MongoDB does not answer"):
                    work()
            server.start()
            assert (held(store), store.progress(SHAPE)) == ({("1",): 1}, progress)
