"""The stores of the companions beside PostgreSQL: a ClickHouse out of a wheel, and Debian's Redis if it is there."""

from __future__ import annotations

import secrets
import shutil
import socket
import sys

from demo.processes import Supervisor, choose_ports, plain_environment

FACTS, STATUSES = "RECOMMENDATIONS_STORE_URL", "DASHBOARD_STORE_URL"


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
