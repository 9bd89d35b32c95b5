"""Every engine that ships keeps the promises of a store: PostgreSQL 15 and 18, ClickHouse, Redis, Tantivy, MongoDB.

Elasticsearch's adapter is tried against osmem-server, which speaks OpenSearch's API, and MongoDB's against BriskDB,
which speaks its protocol; against themselves where ELASTICSEARCH_URL and MONGODB_URL name them.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from migration_tools.stores.ports import Store
from migration_tools.testing.brokers import EmbeddedRedis
from migration_tools.testing.clickhouse import EmbeddedClickHouseServer
from migration_tools.testing.postgres import EmbeddedPostgres
from migration_tools.testing.stores import StoreConformance
from tests.conftest import Cluster
from tests.document_server import mongodb_url
from tests.search_server import search_url

Opener = Callable[[], Store]


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis of this module's own."""
    with EmbeddedRedis() as server:
        yield server.url


@pytest.fixture(scope="module")
def elasticsearch_url() -> Iterator[str]:
    """A search server of this module's own, or the one that is named."""
    with search_url() as url:
        yield url


@pytest.fixture(scope="module")
def mongodb() -> Iterator[str]:
    """A MongoDB of this module's own, or the one that is named."""
    with mongodb_url() as url:
        yield url


@pytest.fixture(scope="module")
def clickhouse_url() -> Iterator[str]:
    """A ClickHouse of this module's own, behind HTTP."""
    with EmbeddedClickHouseServer() as server:
        yield server.url


@pytest.fixture(scope="module")
def chdb_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the engine in this process keeps its data; one process has one engine."""
    return tmp_path_factory.mktemp("chdb")


@pytest.fixture(scope="module")
def postgres18(cluster: Cluster) -> Iterator[str]:
    """A database of this module's own in the run's PostgreSQL."""
    name = f"replica_{os.urandom(4).hex()}"
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield cluster.dsn(name)
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def postgres15() -> Iterator[str]:
    """A PostgreSQL 15, from Debian's package where there is one."""
    try:
        server = EmbeddedPostgres(version=15)
    except RuntimeError as error:
        pytest.skip(f"{error}; apt-get install postgresql-15")
    with server:
        yield server.dsn()


class TestPostgreSQL18(StoreConformance):
    @pytest.fixture
    def opened(self, postgres18: str) -> Opener:
        from migration_tools.stores.postgres.replica import PostgresStore

        return lambda: PostgresStore(postgres18)


class TestPostgreSQL15(StoreConformance):
    @pytest.fixture
    def opened(self, postgres15: str) -> Opener:
        from migration_tools.stores.postgres.replica import PostgresStore

        return lambda: PostgresStore(postgres15)


class TestClickHouseInProcess(StoreConformance):
    @pytest.fixture
    def opened(self, chdb_directory: Path) -> Opener:
        from migration_tools.stores.clickhouse.embedded import EmbeddedClickHouse

        return lambda: EmbeddedClickHouse(str(chdb_directory))


class TestClickHouseServer(StoreConformance):
    @pytest.fixture
    def opened(self, clickhouse_url: str) -> Opener:
        from migration_tools.stores.clickhouse.server import ClickHouseServer

        return lambda: ClickHouseServer(clickhouse_url)


class TestRedisHashes(StoreConformance):
    form = "hash"

    @pytest.fixture
    def opened(self, redis_url: str) -> Opener:
        from migration_tools.stores.redis import RedisStore

        return lambda: RedisStore(redis_url, form=self.form)


class TestRedisJson(TestRedisHashes):
    form = "json"


class TestMongoDB(StoreConformance):
    @pytest.fixture
    def opened(self, mongodb: str) -> Opener:
        from migration_tools.stores.mongodb import MongoStore

        return lambda: MongoStore(mongodb)


class TestTantivy(StoreConformance):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opener:
        from migration_tools.stores.tantivy import TantivyStore

        return lambda: TantivyStore(str(tmp_path))


class TestElasticsearch(StoreConformance):
    @pytest.fixture
    def opened(self, elasticsearch_url: str) -> Opener:
        from migration_tools.stores.elasticsearch.store import ElasticsearchStore

        return lambda: ElasticsearchStore(elasticsearch_url)
