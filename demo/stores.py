"""The stores beside PostgreSQL: a ClickHouse out of a wheel, Debian's Redis if it is there, and MongoDB's stand-in."""

from __future__ import annotations

import secrets
import shutil
import socket
import sys

from demo.processes import Supervisor, choose_ports, plain_environment

FACTS, STATUSES, STOCK = "RECOMMENDATIONS_STORE_URL", "DASHBOARD_STORE_URL", "INVENTORY_STORE_URL"
# It has eight sockets: each process has one that watches it and one that asks.
FEW_SOCKETS = "directConnection=true&serverMonitoringMode=poll&maxPoolSize=1"


def start_stores(supervisor: Supervisor) -> dict[str, str]:
    """Start both; the variables that say where they are, empty where there is none."""
    return {FACTS: _start_clickhouse(supervisor), STATUSES: _start_redis(supervisor)}


def _start_clickhouse(supervisor: Supervisor) -> str:
    (port,), password = choose_ports(1), secrets.token_hex(12)
    directory = supervisor.directory / "clickhouse"
    directory.mkdir()
    argv = [sys.executable, "-m", "migration_tools.testing.clickhouse", str(directory / "data"), str(port)]
    environment = {**plain_environment(), "STRANGLE_TEST_CLICKHOUSE_PASSWORD": password}
    supervisor.start("clickhouse", argv, environment)
    supervisor.await_condition(f"a ClickHouse on port {port}", lambda: _listens(port))
    return f"http://default:{password}@127.0.0.1:{port}/shop"


def start_documents(supervisor: Supervisor) -> dict[str, str]:
    """Start a server that speaks MongoDB's protocol; the variable that says where it is."""
    (port,) = choose_ports(1)
    directory = supervisor.directory / "mongodb"
    directory.mkdir()
    argv = [sys.executable, "-m", "migration_tools.testing.mongodb", str(directory / "data"), str(port)]
    supervisor.start("mongodb", argv, plain_environment())
    supervisor.await_condition(f"a MongoDB on port {port}", lambda: _listens(port))
    return {STOCK: f"mongodb://127.0.0.1:{port}/inventory?{FEW_SOCKETS}"}


def _start_redis(supervisor: Supervisor) -> str:
    """One that keeps nothing on disk."""
    program = shutil.which("redis-server")
    if program is None:
        return ""
    (port,), password = choose_ports(1), secrets.token_hex(12)
    directory = supervisor.directory / "redis"
    directory.mkdir()
    settings = directory / "redis.conf"
    settings.touch(mode=0o600)
    lines = ("bind 127.0.0.1", f"port {port}", f"dir {directory}", 'save ""', f"requirepass {password}")
    settings.write_text("\n".join(lines) + "\n")
    supervisor.start("redis", [program, str(settings)], plain_environment())
    supervisor.await_condition(f"a Redis on port {port}", lambda: _listens(port))
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
