"""A real PgBouncer before a PostgreSQL of tests and demos, in the pool mode that is asked for."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from migration_tools.testing.brokers import EmbeddedBroker

PGBOUNCER = Path("/usr/sbin/pgbouncer")
PGBOUNCER_MISSING = f"no {PGBOUNCER}; apt-get install -y --no-install-recommends pgbouncer"
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


class EmbeddedPgBouncer(EmbeddedBroker):
    """Debian's PgBouncer on a free port of 127.0.0.1; every database of the server is to be had there.

    `roles` are role → password, `size` is how many server sessions a role and database share.
    """

    name = "pgbouncer"

    def __init__(self, server_port: int, roles: Mapping[str, str], *, mode: str = "transaction", size: int = 5) -> None:
        if not PGBOUNCER.exists():
            raise RuntimeError(PGBOUNCER_MISSING)
        super().__init__()
        users = self.directory / "users.txt"
        users.write_text("".join(f'"{role}" "{password}"\n' for role, password in roles.items()))
        self._config = self.directory / "pgbouncer.ini"
        self._config.write_text(
            f"""[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
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

    def url_at(self, port: int) -> str:
        """The place, without a role: which ones there are the caller has said."""
        return f"postgresql://127.0.0.1:{port}"

    def _launch(self) -> "subprocess.Popen[bytes]":
        words = [str(PGBOUNCER), str(self._config)]
        if os.geteuid() == 0:
            # It refuses to run as root; Debian's user of that name is on every machine.
            for path in (self.directory, *self.directory.iterdir()):
                shutil.chown(path, "nobody", "nogroup")
            words[1:1] = ["-u", "nobody"]
        return self._spawn(words)

    def _answers(self) -> bool:
        return self._exchange(SSL_REQUEST) in (b"N", b"S")
