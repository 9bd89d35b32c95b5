"""Any extracted service as in production: its own database and roles, migrated, behind gunicorn, with consumers."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from django.db import connections
from psycopg import sql

from migration_tools.testing.postgres import grant_side, provision
from tests import identity_rig
from tests.conftest import ROOT, Cluster


@dataclass(kw_only=True)
class Served:
    """A running service, as its callers and its operator see it."""

    side: str
    url: str
    database: str
    dsn: Callable[[str, str], str]
    environment: dict[str, str]
    log: Path
    started: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def rows(self, query: str, *args: Any) -> list[tuple[Any, ...]]:
        """Run one statement in the service's database and give what it returns."""
        with psycopg.connect(self.dsn(self.database, "postgres"), autocommit=True) as connection:
            cursor = connection.execute(query.encode(), args)
            return cursor.fetchall() if cursor.description else []

    def manage(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a management command to its end, as the owner role."""
        return subprocess.run(
            command(self.side, *args), cwd=ROOT, env={**self.environment, **env}, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip

    def start(self, *args: str, **env: str) -> "subprocess.Popen[bytes]":
        """Start a command that runs for good, as the owner role; it ends with the service."""
        with self.log.open("a") as output:
            process = subprocess.Popen(
                command(self.side, *args), cwd=ROOT, env={**self.environment, **env}, stdout=output, stderr=output
            )
        self.started.append(process)
        return process


def command(side: str, *args: str) -> list[str]:
    """A management command of a service."""
    return [sys.executable, "manage.py", args[0], "--settings", f"extracted_services.{side}.settings", *args[1:]]


@contextmanager
def provisioned(cluster: Cluster, side: str, log: Path, **environment: str) -> Iterator[Served]:
    """A service's fresh database, migrated, and its commands; everything that was started ends with the block."""
    provision(cluster, sides=(side,))  # type: ignore[arg-type]
    database = f"{side}_{os.urandom(4).hex()}"
    name = sql.Identifier(database)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(f"{side}_owner")))
    grant_side(cluster, database, side)  # type: ignore[arg-type]
    prefix = side.upper()
    env = {
        **os.environ, f"{prefix}_DB_PORT": str(cluster.port), f"{prefix}_DB_PASSWORD": cluster.password,
        f"{prefix}_DB_NAME": database, f"{prefix}_DB_USER": f"{side}_owner",
        "DJANGO_SETTINGS_MODULE": f"extracted_services.{side}.settings",
        "STRANGLE_IDENTITY_JWKS": identity_rig.jwks(), "STRANGLE_IDENTITY_URL": "", **environment,
    }  # fmt: skip
    made = Served(side=side, url="", database=database, dsn=cluster.dsn, environment=env, log=log)
    try:
        migrated = made.manage("migrate", "-v0")
        assert migrated.returncode == 0, migrated.stderr
        yield made
    finally:
        for process in reversed(made.started):
            process.terminate()
        for process in made.started:
            process.wait(timeout=30)
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@contextmanager
def served(cluster: Cluster, side: str, log: Path, **environment: str) -> Iterator[Served]:
    """The same behind gunicorn, as role <side>_app."""
    # The socket listens before the server starts: the first request waits, and no port is raced for.
    with (
        provisioned(cluster, side, log, **environment) as made,
        socket.create_server(("127.0.0.1", 0)) as listener,
        log.open("a") as output,
    ):
        made.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        made.started.append(
            subprocess.Popen(
                [sys.executable, "-m", "gunicorn", f"extracted_services.{side}.wsgi", "--threads", "8",
                 "--bind", f"fd://{listener.fileno()}", "--no-control-socket"],
                cwd=ROOT, env={**made.environment, f"{side.upper()}_DB_USER": f"{side}_app"}, stdout=output,
                stderr=output, pass_fds=[listener.fileno()],
            )
        )  # fmt: skip
        yield made


@contextmanager
def in_process(made: Served, cluster: Cluster, blocker: Any) -> Iterator[None]:
    """Let this process's alias 'default' be the service's database for the block."""
    before = dict(connections["default"].settings_dict)
    with blocker.unblock():
        connections["default"].close()
        connections["default"].settings_dict.update(
            NAME=made.database, PORT=str(cluster.port), PASSWORD=cluster.password, USER="postgres"
        )
        try:
            yield
        finally:
            connections["default"].close()
            connections["default"].settings_dict.update(before)
