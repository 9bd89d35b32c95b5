"""A stage with further stores beside it, and the commands and hands that replica tests need."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging.relay import Relay
from migration_tools.stores.opening import open_store
from migration_tools.stores.ports import Store, VersionedRow
from migration_tools.transfer.replica_sync import following
from migration_tools.transfer.replicas import Follower
from playbooks.orders import Orders
from tests.conftest import ROOT
from tests.document_playbook import DocumentedOrders
from tests.replica_playbook import ReplicatedOrders
from tests.replica_settings import ADDRESSES, stores
from tests.stage import Stage, write_at_random

REPLICAS = {replica.name: replica for replica in (*ReplicatedOrders.replicas, *DocumentedOrders.replicas)}
ANALYTICS, LINES, CACHE, DOCUMENTS = REPLICAS
ORDER_COLUMNS = ["id", "public_id", "customer_name", "state", "total_cents", "discount_cents", "remark", "ship_to"]
SIGKILLED = -9
SECONDS = 60


class Rig:
    """The stage of one test, its stores empty: those of a playbook's replicas, by URL."""

    def __init__(
        self, stage: Stage, playbook: type[Orders], *, analytics: str = "", cache: str = "", documents: str = ""
    ):
        self.stage = stage
        self.playbook = playbook
        self.addresses = dict(zip(ADDRESSES, (analytics, cache, documents), strict=True))

    @contextmanager
    def settled(self) -> Iterator["Rig"]:
        """Point Django at the stores for the block; empty them after it."""
        beside = {"PLAYBOOKS": [self.playbook.__module__], "STORES": stores(*self.addresses.values())}
        chosen = {**settings.MIGRATION_TOOLS, **beside}
        with override_settings(MIGRATION_TOOLS=chosen):
            try:
                yield self
            finally:
                self.run("drop")

    def run(self, action: str, *args: str) -> dict[str, Any]:
        """The command in this process, its outcome as JSON."""
        out = StringIO()
        call_command("strangle_replica", "orders", action, *args, "--format", "json", stdout=out)
        return json.loads(out.getvalue())

    def failing(self, action: str, *args: str) -> tuple[CommandError, dict[str, Any]]:
        """The command that must fail: its error and its outcome."""
        out = StringIO()
        try:
            call_command("strangle_replica", "orders", action, *args, "--format", "json", stdout=out)
        except CommandError as error:
            return error, json.loads(out.getvalue())
        raise AssertionError(f"strangle_replica {action} was expected to fail: {out.getvalue()}")

    def process(self, action: str, *args: str, **env: str) -> "subprocess.Popen[str]":
        """The command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "manage.py", "strangle_replica", "orders", action, *args],
            cwd=ROOT,
            env={
                **self.stage.pair.environment(operator=True),
                **self.addresses,
                "DJANGO_SETTINGS_MODULE": "tests.replica_settings",
                "REPLICA_PLAYBOOK": self.playbook.__module__,
                **env,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def follower(self, name: str) -> Iterator[Follower]:
        """One replica, followed by the test itself."""
        with following("default", "orders", REPLICAS[name]) as follower:
            yield follower

    @contextmanager
    def store(self, name: str) -> Iterator[Store]:
        """A store, opened by the test itself."""
        store = open_store(REPLICAS[name].store)
        try:
            yield store
        finally:
            store.close()

    def held(self, name: str) -> dict[int, Any]:
        """What a replica holds by its own engine, read by hand: the comparison must not trust the code it checks."""
        if name == CACHE:
            import redis

            client: Any = redis.Redis.from_url(self.addresses["CACHE_URL"], decode_responses=True)
            found = {int(key.partition(":")[2]): client.hgetall(key) for key in client.scan_iter("order:*")}
            client.close()
            return found
        if name == DOCUMENTS:
            import pymongo

            with pymongo.MongoClient[dict[str, Any]](self.addresses["DOCUMENTS_URL"]) as documents:
                orders = documents.get_default_database()["orders"].find({"_deleted": False})
                return {order["id"]: [order[column] for column in ORDER_COLUMNS] for order in orders}
        from migration_tools.stores.clickhouse.store import ClickHouseStore

        with self.store(name) as store:
            assert isinstance(store, ClickHouseStore)
            columns = {
                ANALYTICS: ", ".join(ORDER_COLUMNS),
                LINES: "id, order_public_id, product_id, qty, unit_cents, gift_note",
            }[name]
            table = "analytics.orders" if name == ANALYTICS else "analytics.`lines`"
            answer = store._engine.ask(f"SELECT toJSONString(tuple({columns})) AS j FROM {table} FINAL ORDER BY id")
            rows = [json.loads(line.replace("\\\\", "\\").replace("\\'", "'")) for line in answer.decode().splitlines()]
        return {int(next(iter(_values(row)))): list(_values(row)) for row in rows}

    def wanted(self, name: str) -> dict[int, Any]:
        """The same, from the monolith's tables by SQL written by hand."""
        if name == LINES:
            query = """SELECT l.id, o.public_id::text, l.product_id, l.quantity, (l.unit_price * 100)::bigint,
                l.gift_message FROM orders_orderline l JOIN orders_order o ON o.id = l.order_id"""
            return {row[0]: list(row) for row in self.stage.shop.execute(query)}
        query = """SELECT o.id, o.public_id::text, u.first_name || ' ' || u.last_name, o.status,
            (o.total * 100)::bigint, (o.discount * 100)::bigint, o.note, o.shipping_address::text
            FROM orders_order o JOIN accounts_user u ON u.id = o.user_id"""
        rows = self.stage.shop.execute(query).fetchall()
        if name in (ANALYTICS, DOCUMENTS):
            return {row[0]: list(row) for row in rows}
        names = ("id", "public_id", "customer_name", "state")
        return {
            row[0]: {
                **dict(zip(names, map(str, row[:4]), strict=True)),
                **({} if row[6] is None else {"remark": row[6]}),
            }
            for row in rows
        }

    def assert_planted_differences_are_found(self, name: str) -> None:
        """Plant a row that is changed, one that is missing and one too many: found, named, repaired."""
        with self.follower(name) as follower, follower.instant() as position:
            shape = follower.bound.shape
            place = [column.name for column in shape.columns].index("state")
            rows = {key: list(values) for key, values in follower.values_of([("1",), ("2",)]).items()}
            rows["1",][place] = "tampered"
            planted = [
                VersionedRow(key=("1",), version=position, values=tuple(rows["1",])),
                VersionedRow(key=("2",), version=position, values=None),
                VersionedRow(key=("99999",), version=position, values=("99999", *rows["2",][1:])),
            ]
            follower.store.upsert(shape, planted)
        error, outcome = self.failing("verify", "--only", name)
        assert error.returncode == 3
        assert outcome["evidence"]["by_class"] == {"missing": 1, "extra": 1, "changed": 1}
        assert self.run("verify", "--only", name, "--repair")["evidence"]["repaired"] == 3

    def assert_equal(self) -> None:
        """Every replica holds what the monolith has, by hand."""
        for name in (replica.name for replica in self.playbook.replicas):
            assert _plain(self.held(name)) == _plain(self.wanted(name)), name


@contextmanager
def thread(work: Any, *args: Any) -> Iterator[None]:
    """Run `work(*args, stop)` beside the block."""
    stop = threading.Event()
    running = threading.Thread(target=work, args=(*args, stop))
    running.start()
    try:
        yield
    finally:
        stop.set()
        running.join()


@contextmanager
def customers(rig: Rig) -> Iterator[None]:
    """A customer who writes, and the monolith's relay."""
    with (
        thread(Relay("orders", RelationProjector(), alias="default").run),
        thread(write_at_random, rig.stage.pair, 31),
    ):
        yield


def _values(row: Any) -> Iterator[Any]:
    yield from (row.values() if isinstance(row, dict) else row)


def _plain(rows: dict[int, Any]) -> dict[int, Any]:
    """Numbers that JSON made text as numbers, for a comparison by value."""
    return {key: [_number(value) for value in row] if isinstance(row, list) else row for key, row in rows.items()}


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value
