"""A pytest plugin: the orders service, migrated and served as in production, to be talked to over HTTP.

PYTEST_DONT_REWRITE: test modules also import it for its types, before pytest loads it as a plugin.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg import sql

from migration_tools.testing.postgres import EmbeddedPostgres, grant_side
from tests import identity_rig
from tests.services.rig import OWNED

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "extracted_services.orders.settings"
CSRF = "c" * 32
PRODUCTS = [
    (1, "MUG-1", "Mug “Größe L”", 1234, "EUR", True),
    (2, "PEN-2", "Pen", 5, "EUR", True),
    (3, "HAT-3", "Hat", 99_999_999_99, "EUR", True),
    (4, "OLD-4", "Withdrawn", 100, "EUR", False),
    (5, "TEA-5", "Tea", 100, "GBP", True),
]

Shopper = Callable[..., httpx2.Client]


@dataclass(frozen=True, kw_only=True)
class RunningService:
    """The service as its users see it, and its database as its operator does."""

    url: str
    database: str
    dsn: Callable[[str, str], str]
    log: Path

    def rows(self, query: str, *args: Any, user: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement in the service's database and give what it returns."""
        with psycopg.connect(self.dsn(self.database, user), autocommit=True) as connection:
            cursor = connection.execute(query.encode(), args)
            return cursor.fetchall() if cursor.description else []

    def wait_until(self, condition: str, seconds: float = 20) -> None:
        """Return when a query about the service's database gives true."""
        deadline = time.monotonic() + seconds
        with psycopg.connect(self.dsn(self.database, "postgres"), autocommit=True) as connection:
            while connection.execute(condition.encode()).fetchone() != (True,):
                assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
                connection.execute("SELECT pg_sleep(0.01)")

    def manage(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a management command of the service to its end, as the owner role unless told otherwise."""
        return _manage(*args, env={**_environment(self.database, "orders_owner"), **env})


@pytest.fixture(scope="session")
def orders_service(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve the orders service by gunicorn, as role orders_app, on a database of its own."""
    database = f"orders_service_{os.urandom(4).hex()}"
    name = sql.Identifier(database)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER orders_owner").format(name))
    grant_side(cluster, database, "orders")
    migrated = _manage("migrate", "-v0", env=_environment(database, "orders_owner"))
    assert migrated.returncode == 0, migrated.stderr
    with psycopg.connect(cluster.dsn(database), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(OWNED, ["orders"])
        cursor.executemany("INSERT INTO sales_product VALUES (%s, %s, %s, %s, %s, %s)", PRODUCTS)
    log = tmp_path_factory.mktemp("orders_service") / "gunicorn.log"
    # The socket listens before the server starts: the first request waits, and no port is raced for.
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "extracted_services.orders.wsgi", "--threads", "8",
             "--bind", f"fd://{listener.fileno()}", "--no-control-socket"],
            cwd=ROOT, env=_environment(database, "orders_app"), stdout=output, stderr=output,
            pass_fds=[listener.fileno()],
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield RunningService(url=url, database=database, dsn=cluster.dsn, log=log)
        finally:
            server.terminate()
            server.wait(timeout=30)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def shopper(orders_service: RunningService) -> Iterator[Shopper]:
    """Give a maker of logged-in clients: `shopper(uid, name)`, each with identity and CSRF cookies."""
    opened: list[httpx2.Client] = []

    def log_in(uid: int = 7, name: str = "Ada Lovelace", *, csrf: str | None = CSRF) -> httpx2.Client:
        client = httpx2.Client(
            base_url=orders_service.url,
            cookies={**identity_rig.cookies(uid, name), "csrftoken": CSRF},
            headers={"X-CSRFToken": csrf} if csrf else {},
            timeout=30,
        )
        opened.append(client)
        return client

    yield log_in
    for client in opened:
        client.close()


@pytest.fixture
def uid() -> int:
    """A customer that no other test knows."""
    return int.from_bytes(os.urandom(5)) + 1


def _environment(database: str, user: str) -> dict[str, str]:
    return {
        **os.environ,
        "ORDERS_DB_NAME": database,
        "ORDERS_DB_USER": user,
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "STRANGLE_IDENTITY_JWKS": identity_rig.jwks(),
        "STRANGLE_IDENTITY_URL": "",
    }


def _manage(*args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *args, "--settings", SETTINGS],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
