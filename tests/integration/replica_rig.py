"""A stage with a ClickHouse and a Redis beside it, and the commands and hands that replica tests need."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

from migration_tools.stores.opening import open_store
from migration_tools.stores.ports import Store
from migration_tools.testing.brokers import EmbeddedRedis
from migration_tools.testing.clickhouse import EmbeddedClickHouseServer
from migration_tools.transfer.replica_sync import following
from migration_tools.transfer.replicas import Follower
from tests.conftest import ROOT
from tests.replica_playbook import ReplicatedOrders
from tests.replica_settings import PLAYBOOKS, stores
from tests.stage import Stage

REPLICAS = {replica.name: replica for replica in ReplicatedOrders.replicas}
ANALYTICS, LINES, CACHE = REPLICAS


class Rig:
    """The stage of one test, its stores empty."""

    def __init__(self, stage: Stage, clickhouse: EmbeddedClickHouseServer, redis: EmbeddedRedis):
        self.stage = stage
        self.addresses = {"ANALYTICS_URL": clickhouse.url, "CACHE_URL": redis.url}

    @contextmanager
    def settled(self) -> Iterator["Rig"]:
        """Point Django at the stores for the block; empty them after it."""
        urls = (self.addresses["ANALYTICS_URL"], self.addresses["CACHE_URL"])
        chosen = {**settings.MIGRATION_TOOLS, "PLAYBOOKS": PLAYBOOKS, "STORES": stores(*urls)}
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
        from migration_tools.stores.clickhouse.store import ClickHouseStore

        with self.store(name) as store:
            assert isinstance(store, ClickHouseStore)
            columns = {
                ANALYTICS: "id, public_id, customer_name, state, total_cents, discount_cents, remark, ship_to",
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
        if name == ANALYTICS:
            return {row[0]: list(row) for row in rows}
        names = ("id", "public_id", "customer_name", "state")
        return {
            row[0]: {
                **dict(zip(names, map(str, row[:4]), strict=True)),
                **({} if row[6] is None else {"remark": row[6]}),
            }
            for row in rows
        }

    def assert_equal(self) -> None:
        """Every replica holds what the monolith has, by hand."""
        for name in REPLICAS:
            assert _plain(self.held(name)) == _plain(self.wanted(name)), name


def _values(row: Any) -> Iterator[Any]:
    yield from (row.values() if isinstance(row, dict) else row)


def _plain(rows: dict[int, Any]) -> dict[int, Any]:
    """Numbers that JSON made text as numbers, for a comparison by value."""
    return {key: [_number(value) for value in row] if isinstance(row, list) else row for key, row in rows.items()}


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value
