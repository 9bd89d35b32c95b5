"""Two regions with a store each, a third store, the map's database with a saga's tables, and customers who buy."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.db import connections, transaction

from migration_tools.sagas.orchestrator import start
from migration_tools.sharding.mapping import geographic_map
from migration_tools.sharding.routing import Place, at_shard
from tests.conftest import ROOT, Cluster, recreate
from tests.sharding.conftest import MAP, Shards, declare, set_up
from tests.sharding.customers import execute
from tests.sharding.relocation import MOVE_HOME
from tests.sharding.relocation_host import work_until

REGIONS = {"s0": "eu", "s1": "us", "s2": "eu"}
CUSTOMERS = ("ada", "bob", "cy")
BY = [{"table": "customer"}, {"table": "purchase", "by": "customer_id"}]


class Regions:
    """Customers of the EU, and what becomes of them."""

    def __init__(self, shards: Shards, name: str):
        self.shards = shards
        self.name = name
        self.conn = psycopg.connect(shards.cluster.dsn(name), autocommit=True)

    def begin(self, key: str, source: str, target: str, *, consent: str = "letter 17") -> str:
        """Begin the saga."""
        asked = {"map": MAP, "key": key, "source": source, "target": target, "consent": consent}
        with transaction.atomic(using="home"):
            return start(MOVE_HOME, asked, aggregate=("customer", key))

    def status(self, saga: str) -> str:
        """How far it is."""
        return str(self.conn.execute("SELECT status FROM saga_state WHERE saga_id = %s", [saga]).fetchone()[0])  # type: ignore[index]

    def reason(self, saga: str) -> str:
        """Why it turned back."""
        query = "SELECT reason FROM saga_log WHERE saga_id = %s AND event LIKE 'compensat%%' ORDER BY id LIMIT 1"
        return str((self.conn.execute(query, [saga]).fetchone() or [""])[0])

    def of(self, key: str) -> dict[str, int]:
        """How many rows of a customer each store has, seen or not."""
        query = """SELECT (SELECT count(*) FROM customer WHERE id = %s)
            + (SELECT count(*) FROM purchase WHERE customer_id = %s)"""
        counts = {shard: self.shards.rows(shard, query, key, key)[0][0] for shard in REGIONS}
        return {shard: count for shard, count in counts.items() if count}

    @contextmanager
    def working(self) -> Iterator[None]:
        """Relay, consumer and runner as threads of this process."""
        stop = threading.Event()
        thread = threading.Thread(target=work_until, args=(stop, "home"))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)

    def process(self, **more: str) -> "subprocess.Popen[bytes]":
        """The same as a process of its own, which can be killed."""
        given: dict[str, Any] = {
            "databases": {alias: _place(self.shards.cluster, name) for alias, name in self.shards.names.items()},
            "shards": django_settings.MIGRATION_TOOLS["SHARDS"],
        }
        for alias in ("home", "default"):
            given["databases"][alias] = _place(self.shards.cluster, self.name)
        environment = {**os.environ, "REGIONAL_DATABASES": json.dumps(given), "PYTHONPATH": str(ROOT), **more}
        return subprocess.Popen([sys.executable, "-m", "tests.sharding.relocation_host"], cwd=ROOT, env=environment)


def _place(cluster: Cluster, name: str) -> dict[str, str]:
    return {"NAME": name, "USER": "postgres", "PASSWORD": cluster.password, "PORT": str(cluster.port)}


@pytest.fixture
def regions(shards: Shards, settings: Any, templates: tuple[str, str]) -> Iterator[Regions]:
    """Three customers of the EU, whose rows are on s0."""
    name = f"home_{os.urandom(4).hex()}"
    recreate(shards.cluster, name, owner="orders_owner", template=templates[1])
    connections.settings["home"] = {**connections["default"].settings_dict, **_place(shards.cluster, name)}
    with connections["home"].schema_editor() as editor:
        for model in apps.get_app_config("strangle_sharding").get_models():
            editor.create_model(model)
    databases = {shard: {"ALIAS": shard, "REGION": region} for shard, region in REGIONS.items()}
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "DATABASE": "home"}
    declare(settings, STRATEGY="geography", DATABASES=databases, TABLES=BY)
    set_up(geographic_map(MAP, {"eu": "s0", "us": "s1"}))
    made = Regions(shards, name)
    for key in CUSTOMERS:
        at_shard(MAP, key, lambda place, key=key: sign_up(place, key), region="eu")  # type: ignore[misc]
    try:
        yield made
    finally:
        made.conn.close()
        connections["home"].close()
        del connections["home"]
        del connections.settings["home"]
        with psycopg.connect(shards.cluster.dsn(), autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def sign_up(place: Place, key: str) -> None:
    execute(place.alias, "INSERT INTO customer (id, bucket, name) VALUES (%s, %s, %s)", key, place.bucket, f"n {key}")


def buy(key: str, number: str) -> str:
    """Buy as a client who thinks that everybody lives in the EU; where it was done."""

    def insert(place: Place) -> str:
        statement = "INSERT INTO purchase (id, bucket, customer_id, cents) VALUES (%s, %s, %s, 100)"
        execute(place.alias, statement, number, place.bucket, key)
        execute(place.alias, "UPDATE customer SET points = points + 1 WHERE id = %s", key)
        return place.region

    return at_shard(MAP, key, insert, region="eu", patience_seconds=60)


def assert_whole(regions: Regions, acknowledged: list[tuple[str, str]], at: dict[str, str]) -> None:
    """Every acknowledged purchase is there once, points agree, and each customer's rows are in one store alone."""
    assert Counter(regions.shards.everywhere("SELECT customer_id, id FROM purchase")) == Counter(acknowledged)
    bought = Counter(key for key, _ in acknowledged)
    assert dict(regions.shards.everywhere("SELECT id, points FROM customer")) == {key: bought[key] for key in CUSTOMERS}
    assert {key: list(regions.of(key)) for key in CUSTOMERS} == {key: [at.get(key, "s0")] for key in CUSTOMERS}
