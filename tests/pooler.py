"""A real PgBouncer of Debian before the run's PostgreSQL, in the pool mode that a test asks for."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from migration_tools.testing.postgres import free_port
from tests.conftest import Cluster

PGBOUNCER = "/usr/sbin/pgbouncer"
ROLES = ("postgres", "strangler", "shop_owner", "shop_app", "orders_owner", "orders_app")
SECONDS = 20.0


@contextmanager
def pgbouncer(cluster: Cluster, directory: Path, *, mode: str = "transaction", size: int = 5) -> Iterator[int]:
    """Yields the port at which every database of the cluster can be had; `size` sessions a role and database."""
    if not Path(PGBOUNCER).exists():
        # As with brokers: a failure in CI, which installs it; elsewhere a skip.
        assert os.environ.get("CI") != "true", f"no {PGBOUNCER}"
        pytest.skip(f"no {PGBOUNCER}; apt-get install -y --no-install-recommends pgbouncer (.ci/run does)")
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    users = directory / "users.txt"
    users.write_text("".join(f'"{role}" "{cluster.password}"\n' for role in ROLES))
    config = directory / "pgbouncer.ini"
    config.write_text(
        f"""[databases]
* = host=127.0.0.1 port={cluster.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 500
query_wait_timeout = 20
ignore_startup_parameters = extra_float_digits
"""
    )
    words = [PGBOUNCER, str(config)]
    if os.geteuid() == 0:
        # It refuses to run as root; Debian's user of that name is on every machine.
        for path in (users, config):
            shutil.chown(path, "nobody", "nogroup")
        for parent in (directory, *directory.parents):
            if parent.stat().st_uid == 0 and parent != Path("/") and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        words[1:1] = ["-u", "nobody"]
    log = directory / "pgbouncer.log"
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT)
    try:
        _await(cluster, port, process, log)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _await(cluster: Cluster, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            psycopg.connect(cluster.dsn("postgres").replace(f"port={cluster.port}", f"port={port}")).close()
            return
        except psycopg.OperationalError as error:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{error}\n{log.read_text()}"  # noqa: PT017  (waited for)
            time.sleep(0.05)
