"""A pytest plugin: any extracted service, migrated and served as in production, to be talked to over HTTP.

PYTEST_DONT_REWRITE: test modules also import it for its types, before pytest loads it as a plugin.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg import sql

from migration_tools.testing.postgres import EmbeddedPostgres, grant_side, provision
from tests import identity_rig

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("catalog", "inventory", "payments", "users")
CSRF = "c" * 32
FEED_TOKEN_MONOLITH = "tests-feed-token-monolith"
# A service takes itself for nobody's owner until a move tells it; those without a monolith are told by the test.
OWNED = "INSERT INTO strangle_ownership (context, side, owner, epoch) VALUES (%s, 'target', 'target', 1)"
# What is checked of each service is checked while it is made: a process of its own for each would only cost time.
MADE = """
import io
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("makemigrations", "{name}_service", check=True, dry_run=True, verbosity=0)
call_command("strangle_contracts", "check", directory="playbooks/contracts", stdout=io.StringIO())
call_command("strangle_contracts", "check", api=True, directory="playbooks/contracts", stdout=io.StringIO())
call_command("spectacular", validate=True, fail_on_warn=True, format="openapi-json")
"""


@dataclass(frozen=True, kw_only=True)
class RunningService:
    """A service as its users see it, and its database as its operator does."""

    name: str
    url: str
    database: str
    dsn: Callable[[str, str], str]
    document: dict[str, Any]

    def rows(self, query: str, *args: Any, user: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement in the service's database and give what it returns."""
        with psycopg.connect(self.dsn(self.database, user), autocommit=True) as connection:
            cursor = connection.execute(query.encode(), args)
            return cursor.fetchall() if cursor.description else []

    def manage(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a management command of the service to its end, as the owner role unless told otherwise."""
        return manage(self.name, *args, env={**environment(self.name, self.database, "owner"), **env})

    def browser(self, uid: int | None = 7, *, staff: bool = False) -> httpx2.Client:
        """Open a client that shows a customer's cookies, or a stranger's; close it."""
        shown = identity_rig.cookies(uid, "Ada Lovelace", audience=(self.name,), staff=staff) if uid else {}
        return httpx2.Client(
            base_url=self.url, cookies={**shown, "csrftoken": CSRF}, headers={"X-CSRFToken": CSRF}, timeout=30
        )


@pytest.fixture(scope="session")
def running(cluster: EmbeddedPostgres) -> Iterator[Callable[[str], RunningService]]:
    """Give services by name; each is started when it is first asked for."""
    started: dict[str, RunningService] = {}
    with ExitStack() as stack:

        def get(name: str) -> RunningService:
            if name not in started:
                started[name] = stack.enter_context(served(cluster, name))
            return started[name]

        yield get


@contextmanager
def served(cluster: EmbeddedPostgres, name: str) -> Iterator[RunningService]:
    database = f"{name}_service_{os.urandom(4).hex()}"
    make_database(cluster, name, database)
    made = manage(name, "shell", "-v0", "-c", MADE.format(name=name), env=environment(name, database, "owner"))
    assert made.returncode == 0, made.stdout + made.stderr
    with serving(name, database) as url:
        document = json.loads(made.stdout)
        yield RunningService(name=name, url=url, database=database, dsn=cluster.dsn, document=document)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


@contextmanager
def serving(name: str, database: str) -> Iterator[str]:
    """Run a service's web process on a database that is made; its URL."""
    # The socket listens before the server starts: the first request waits, and no port is raced for.
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", f"extracted_services.{name}.wsgi", "--threads", "8",
             "--bind", f"fd://{listener.fileno()}", "--no-control-socket"],
            cwd=ROOT, env=environment(name, database, "app"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def make_database(cluster: EmbeddedPostgres, name: str, database: str) -> None:
    """Make an empty database of a service's own, with its roles confined to it."""
    provision(cluster, sides=(name,))
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(f"{name}_owner"))
        )
    grant_side(cluster, database, name)


def environment(name: str, database: str, role: str) -> dict[str, str]:
    """The environment of one of a service's processes, as its role `owner` or `app`."""
    prefix = name.upper()
    return {
        **os.environ,
        f"{prefix}_DB_PORT": os.environ["STRANGLE_TEST_PG_PORT"],
        f"{prefix}_DB_PASSWORD": os.environ["STRANGLE_TEST_PG_PASSWORD"],
        f"{prefix}_DB_NAME": database,
        f"{prefix}_DB_USER": f"{name}_{role}",
        "FEED_TOKEN_MONOLITH": FEED_TOKEN_MONOLITH,
        "STRANGLE_IDENTITY_JWKS": identity_rig.jwks(),
        "STRANGLE_IDENTITY_URL": "",
        "DJANGO_SETTINGS_MODULE": f"extracted_services.{name}.settings",
    }


def manage(name: str, *args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run manage.py of a service to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *args, "--settings", f"extracted_services.{name}.settings"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
