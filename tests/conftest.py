"""Fixtures for all tests: fresh pairs of databases cloned from migrated templates, and Django pointed at them."""

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from django.db import connections
from psycopg import sql

from migration_tools.testing.postgres import grant_side, provision

# Speed is measured by benchmarks; an example may take as long as a busy machine needs.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

ROOT = Path(__file__).resolve().parent.parent
SERVICE_SETTINGS = "extracted_services.orders.settings"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The run's PostgreSQL; quacks like EmbeddedPostgres for `provision`."""

    port: int
    password: str

    def dsn(self, dbname: str = "postgres", user: str = "postgres") -> str:
        """Connection string."""
        return f"host=127.0.0.1 port={self.port} dbname={dbname} user={user} password={self.password}"

    def environment(self) -> dict[str, str]:
        """Where a subprocess finds this cluster."""
        return {
            f"{side}_DB_{name}": value
            for side in ("SHOP", "ORDERS")
            for name, value in (("PORT", str(self.port)), ("PASSWORD", self.password))
        }


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A monolith's and a service's database, fresh for one test."""

    cluster: Cluster
    shop: str
    orders: str

    def connect(self, side: str, user: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Open an autocommit connection to 'shop' or 'orders' as `user`."""
        return psycopg.connect(self.cluster.dsn(getattr(self, side), user), autocommit=True, **options)

    def environment(self, *, operator: bool = False, user: str | None = None) -> dict[str, str]:
        """Environment of a subprocess on this pair; `operator` sees both databases as role strangler."""
        env = {**os.environ, **self.cluster.environment()}
        env |= {"SHOP_DB_NAME": self.shop, "ORDERS_DB_NAME": self.orders}
        for side in ("SHOP", "ORDERS"):
            env[f"{side}_DB_USER"] = user or ("strangler" if operator else f"{side.lower()}_owner")
        return env

    def manage(self, *args: str, service: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
        """Run manage.py to its end as the operator (monolith) or the owner (service)."""
        settings = ("--settings", SERVICE_SETTINGS) if service else ()
        return subprocess.run(
            [sys.executable, "manage.py", *args, *settings],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**self.environment(operator=not service), **env},
            timeout=120,
        )


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The run's PostgreSQL cluster."""
    return Cluster(port=int(os.environ["STRANGLE_TEST_PG_PORT"]), password=os.environ["STRANGLE_TEST_PG_PASSWORD"])


@pytest.fixture(scope="session")
def templates(cluster: Cluster) -> tuple[str, str]:
    """Two migrated databases that tests clone."""
    return migrate_templates(cluster)


def migrate_templates(cluster: Cluster) -> tuple[str, str]:
    """Make and migrate one database a side, each as its owner role."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    names = (f"shop_template_{worker}", f"orders_template_{worker}")
    provision(cluster)  # type: ignore[arg-type]
    for side, name in zip(("shop", "orders"), names, strict=True):
        recreate(cluster, name, owner=f"{side}_owner")
        grant_side(cluster, name, side)  # type: ignore[arg-type]
        settings = ("--settings", SERVICE_SETTINGS) if side == "orders" else ()
        env = {**os.environ, **cluster.environment()}
        env |= {f"{side.upper()}_DB_NAME": name, f"{side.upper()}_DB_USER": f"{side}_owner"}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0", *settings], cwd=ROOT, check=True, env=env)
    return names


@pytest.fixture
def pair(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Pair]:
    """A fresh pair of databases; Django's aliases 'default' and 'orders' point at them for the test."""
    with cloned_pair(cluster, templates, django_db_blocker) as made:
        yield made


@contextmanager
def cloned_pair(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Pair]:
    """Clone the templates, point Django at the clones for the block, drop them after it."""
    suffix = f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.urandom(4).hex()}"
    made = Pair(cluster=cluster, shop=f"shop_{suffix}", orders=f"orders_{suffix}")
    for side, name, template in (("shop", made.shop, templates[0]), ("orders", made.orders, templates[1])):
        recreate(cluster, name, owner=f"{side}_owner", template=template)
    before = {alias: dict(connections[alias].settings_dict) for alias in ("default", "orders")}
    with django_db_blocker.unblock():
        for alias, name in (("default", made.shop), ("orders", made.orders)):
            connections[alias].close()
            connections[alias].settings_dict.update(NAME=name, PORT=str(cluster.port), PASSWORD=cluster.password)
        try:
            yield made
        finally:
            for alias, values in before.items():
                connections[alias].close()
                connections[alias].settings_dict.update(values)
            with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
                for name in (made.shop, made.orders):
                    conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def recreate(cluster: Cluster, name: str, *, owner: str, template: str = "template1") -> None:
    """Make a database anew, as a copy of a template that nobody is connected to, closed to the other side's roles."""
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        conn.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template), sql.Identifier(owner)
            )
        )
        side = "shop" if owner.startswith("shop") else "orders"
        for statement in (
            "REVOKE ALL ON DATABASE {db} FROM PUBLIC",
            "GRANT CONNECT, TEMPORARY ON DATABASE {db} TO {a}, {b}, strangler",
        ):
            conn.execute(
                sql.SQL(statement).format(
                    db=sql.Identifier(name),
                    a=sql.Identifier(f"{side}_owner"),
                    b=sql.Identifier(f"{side}_app"),
                )
            )


def recreate_plain(cluster: Cluster, name: str) -> None:
    """Make an empty database anew, as `createdb` does."""
    with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


@pytest.fixture
def stage(pair: Pair) -> Iterator[Any]:
    """The pair with a small shop seeded and capture installed on both sides."""
    from tests.stage import Stage

    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    made = Stage(pair)
    yield made
    made.close()


SMALL_SHOP = """
    INSERT INTO accounts_user (password, is_superuser, is_staff, is_active, date_joined, email, first_name, last_name)
    SELECT '!', false, false, true, now(), 'u' || n || '@example.com', 'Ünï' || n, 'Näme' || n FROM generate_series(1,
    20) n;
    INSERT INTO catalog_category (name) VALUES ('things');
    INSERT INTO catalog_product (sku, name, price, currency, category_id, attributes, active)
    SELECT 'sku' || n, 'Thing ' || n, n * 1.25, 'EUR', (SELECT min(id) FROM catalog_category), '{}', true FROM
    generate_series(1, 10) n;
    INSERT INTO inventory_stock (product_id, on_hand) SELECT id, 1000000 FROM catalog_product;
    INSERT INTO orders_order (public_id, user_id, status, total, discount, currency, note, client_reference,
        shipping_address, placed_at, updated_at)
    SELECT gen_random_uuid(), 1 + (n % 20), 'placed', n * 0.01, CASE n % 3 WHEN 0 THEN NULL ELSE 0.10 END, 'EUR',
        CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'ñ' || n END, 'seed' || n, '{"b": [1, null, 1e400], "a": "ü"}',
        now(), now() FROM generate_series(1, 300) n;
    INSERT INTO orders_orderline (order_id, product_id, quantity, unit_price, gift_message)
    SELECT o.id, p.id, 2, 3.10, NULL FROM orders_order o JOIN catalog_product p ON p.id % 4 = o.id % 4;
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked thorough, unless it was asked for: `make test` has to stay short."""
    left_out = [item for item in items if item.get_closest_marker("thorough") and not _asked_for(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def _asked_for(item: pytest.Item) -> bool:
    """Whether STRANGLE_THOROUGH, 1 or PART/PARTS, asks for a thorough test; by its name, so parts stay as they are."""
    if "STRANGLE_THOROUGH" not in os.environ:
        return False
    part, _, parts = os.environ["STRANGLE_THOROUGH"].partition("/")
    return not parts or zlib.crc32(item.nodeid.encode()) % int(parts) == int(part) % int(parts)
