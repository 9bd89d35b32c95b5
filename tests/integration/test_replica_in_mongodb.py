"""The shop's orders in MongoDB: copied, synced and compared while customers write; killed, away and back.

Against BriskDB, or what MONGODB_URL names; see tests.document_server. BriskDB replaces some eighty documents a second,
so customers write slower here than beside other stores.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
import pytest
from bson.decimal128 import Decimal128

from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging.relay import Relay
from migration_tools.testing.mongodb import EmbeddedMongo
from migration_tools.transfer.replica_sync import Sync
from tests.conftest import Pair
from tests.document_playbook import DocumentedOrders
from tests.document_server import mongodb_url
from tests.integration.proxy_rig import await_until
from tests.integration.replica_rig import DOCUMENTS, REPLICAS, SECONDS, SIGKILLED, Rig, thread
from tests.stage import Stage

PACE_SECONDS = 0.2


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with mongodb_url() as named:
        yield named


@pytest.fixture
def rig(stage: Stage, url: str) -> Iterator[Rig]:
    with Rig(stage, DocumentedOrders, documents=url).settled() as made:
        yield made


@pytest.fixture
def orders(rig: Rig) -> Iterator[Any]:
    """The collection, beside the adapter."""
    with pymongo.MongoClient[dict[str, Any]](rig.addresses["DOCUMENTS_URL"]) as client:
        yield client.get_default_database()["orders"]


def write_slowly(pair: Pair, stop: threading.Event) -> None:
    """Pay, end and place an order after the other."""
    with pair.connect("shop", "shop_app") as conn:
        while not stop.wait(PACE_SECONDS):
            conn.execute("UPDATE orders_order SET status = 'paid' WHERE id = (SELECT max(id) FROM orders_order)")
            conn.execute("DELETE FROM orders_orderline WHERE order_id = (SELECT max(order_id) FROM orders_orderline)")
            conn.execute(
                """INSERT INTO orders_order (public_id, user_id, status, total, currency, note, client_reference,
                       shipping_address, placed_at, updated_at)
                   SELECT gen_random_uuid(), min(id), 'placed', 2.50, 'EUR', NULL, '', '{"a":1}', now(), now()
                   FROM accounts_user"""
            )


@contextmanager
def customers(rig: Rig) -> Iterator[None]:
    """A customer who writes, and the monolith's relay."""
    with (
        thread(Relay("orders", RelationProjector(), alias="default").run),
        thread(write_slowly, rig.stage.pair),
    ):
        yield


@pytest.mark.thorough
def test_a_replica_is_copied_synced_and_found_equal_while_customers_write(rig: Rig) -> None:
    with customers(rig):
        rig.run("copy")
        with thread(Sync("default", "orders", REPLICAS[DOCUMENTS]).run):
            assert rig.run("verify")["exit_code"] == 0
    rig.stage.tick()
    rig.run("sync", "--once")
    rig.assert_equal()
    assert len(rig.held(DOCUMENTS)) > 300
    assert [each["behind"] for each in rig.run("status")["evidence"]["replicas"]] == [0]


@pytest.mark.thorough
@pytest.mark.parametrize("point", ["replica.chunk_written", "replica.chunk_remembered"])
def test_a_copy_killed_at_a_point_goes_on_where_it_stopped(rig: Rig, point: str) -> None:
    process = rig.process("copy", STRANGLE_POINTS=f"{point}=kill@1")
    assert (process.communicate(timeout=SECONDS), process.returncode)[1] == SIGKILLED
    rig.stage.shop.execute("UPDATE orders_order SET note = 'after the kill' WHERE id % 50 = 0")
    rig.run("copy")
    assert rig.run("verify")["exit_code"] == 0
    rig.assert_equal()


@pytest.mark.thorough
def test_a_sync_killed_between_effect_and_position_does_the_batch_again(rig: Rig) -> None:
    rig.run("copy")
    with customers(rig):
        process = rig.process("sync", STRANGLE_POINTS="replica.rows_written=kill@2")
        assert (process.communicate(timeout=SECONDS), process.returncode)[1] == SIGKILLED
    rig.stage.tick()
    rig.run("sync", "--once")
    assert rig.run("verify")["exit_code"] == 0
    rig.assert_equal()


def test_every_planted_difference_is_found_named_and_repaired_also_one_of_type_alone(rig: Rig, orders: Any) -> None:
    rig.run("copy")
    rig.assert_planted_differences_are_found(DOCUMENTS)
    rig.assert_equal()
    found = orders.find_one({"_id": "3"})
    orders.update_one({"_id": "3"}, {"$set": {"total_cents": Decimal128(str(found["total_cents"]))}})
    orders.update_one({"_id": "4"}, {"$unset": {"state": ""}})
    orders.insert_one({"_id": "88888", "id": 88888, "by": "somebody else"})
    error, outcome = rig.failing("verify")
    assert (error.returncode, outcome["evidence"]["by_class"]) == (3, {"extra": 1, "changed": 2})
    assert rig.run("verify", "--repair")["evidence"]["repaired"] == 3
    assert rig.run("verify")["exit_code"] == 0
    assert orders.find_one({"_id": "88888"})["_deleted"]
    rig.assert_equal()


@pytest.mark.skipif(bool(os.environ.get("MONGODB_URL")), reason="ends the server")
def test_a_sync_waits_for_a_server_that_is_away_and_goes_on_when_it_is_back(stage: Stage) -> None:
    with (
        EmbeddedMongo() as server,
        Rig(stage, DocumentedOrders, documents=f"{server.url}&serverSelectionTimeoutMS=200").settled() as rig,
    ):
        rig.run("copy")
        sync = Sync("default", "orders", REPLICAS[DOCUMENTS])
        with thread(sync.run):
            server.kill()
            stage.shop.execute("UPDATE orders_order SET note = 'meanwhile' WHERE id <= 5")
            stage.tick()
            error, _ = rig.failing("verify")
            assert "MongoDB does not answer" in str(error)
            server.start()
            await_until(lambda: rig.held(DOCUMENTS) == rig.wanted(DOCUMENTS), seconds=SECONDS)
        assert sync.failure is None
