"""Three shards of a cluster with two tables each, a map of sixteen buckets over the first two, and writers."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import connections
from psycopg import sql

from migration_tools.sharding import maps
from migration_tools.sharding.declaration import sharding
from migration_tools.sharding.guard import install
from migration_tools.sharding.mapping import ShardMap, even_map
from migration_tools.sharding.maps import read_map, write_map
from migration_tools.sharding.moving import hold_all
from migration_tools.stores.postgres import connect
from tests.conftest import Cluster

BUCKETS = 16
MAP = "customers"
TABLES = """
    CREATE TABLE customer (id text PRIMARY KEY, bucket int NOT NULL, name text, shout text GENERATED ALWAYS AS
        (upper(name)) STORED, points bigint NOT NULL DEFAULT 0);
    CREATE TABLE purchase (id text PRIMARY KEY, bucket int NOT NULL, customer_id text NOT NULL REFERENCES customer,
        cents bigint NOT NULL, made_at timestamptz NOT NULL DEFAULT now());
    CREATE INDEX ON customer (bucket); CREATE INDEX ON purchase (bucket);
"""


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The databases, by the shard's name."""

    cluster: Cluster
    names: dict[str, str]

    def rows(self, shard: str, query: str, *args: Any) -> list[tuple[Any, ...]]:
        """Ask one shard, past everything."""
        with psycopg.connect(self.cluster.dsn(self.names[shard]), autocommit=True) as conn:
            cursor = conn.execute(query.encode(), args or None)
            return cursor.fetchall() if cursor.description else []

    def everywhere(self, query: str) -> list[tuple[Any, ...]]:
        """Ask all shards, and put the rows together."""
        return [row for shard in self.names for row in self.rows(shard, query)]


@pytest.fixture(scope="module")
def databases(cluster: Cluster) -> Iterator[dict[str, str]]:
    names = {f"s{number}": f"shard{number}_{os.urandom(4).hex()}" for number in range(3)}
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        for name in names.values():
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield names
        for name in names.values():
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def shards(cluster: Cluster, databases: dict[str, str], settings: Any, django_db_blocker: Any) -> Iterator[Shards]:
    """The shards with empty tables and nothing installed; the map's own database is the first."""
    made = Shards(cluster=cluster, names=databases)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "migration_tools.sharding"]
    for shard in databases:
        made.rows(shard, "DROP SCHEMA public CASCADE; CREATE SCHEMA public;" + TABLES)
    before = dict(connections["default"].settings_dict)
    ours = {"USER": "postgres", "PASSWORD": cluster.password, "PORT": str(cluster.port)}
    with django_db_blocker.unblock():
        connections["default"].close()
        connections["default"].settings_dict.update(NAME=databases["s0"], **ours)
        for shard, name in databases.items():
            connections.settings[shard] = {**connections.settings["default"], **ours, "NAME": name}
            with connections[shard].schema_editor() as editor:
                for model in apps.get_app_config("strangle_sharding").get_models():
                    editor.create_model(model)
        maps._maps.clear()
        try:
            yield made
        finally:
            for alias in databases:
                connections[alias].close()
                del connections[alias]
                del connections.settings[alias]
            connections["default"].close()
            connections["default"].settings_dict.update(before)


def declare(settings: Any, **changes: Any) -> None:
    """Let SHARDS declare the map."""
    raw = {
        "BUCKETS": BUCKETS,
        "TABLES": [{"table": "customer"}, {"table": "purchase"}],
        "DATABASES": {f"s{number}": {"ALIAS": f"s{number}", "ENDPOINT": f"db{number}:5432"} for number in range(3)},
    }
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SHARDS": {MAP: raw | changes}}


def set_up(made: ShardMap) -> None:
    """Install the guards, keep the map, let the shards serve it."""
    declared = sharding(MAP)
    for shard in declared.shards.values():
        with connect(shard.alias, "test") as conn:
            install(conn, declared)
    write_map(made)
    hold_all(MAP)


@pytest.fixture
def sharded(shards: Shards, settings: Any) -> Shards:
    """A map by hash over s0 and s1; s2 is empty."""
    declare(settings)
    set_up(even_map(MAP, ["s0", "s1"], BUCKETS))
    assert read_map(MAP).version == 1
    return shards
