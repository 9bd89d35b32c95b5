"""Open the toolkit's own connections, with every setting that changes how a value is written pinned."""

import contextlib
import re
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from django.db import connections
from psycopg import IsolationLevel, errors, sql
from psycopg.pq import TransactionStatus
from psycopg.types.json import set_json_loads

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.stores.postgres import pooling

__all__ = [
    "Connection",
    "commit_soon",
    "connect",
    "describe_failure",
    "django_connection",
    "errors",
    "is_lost",
    "is_pooled",
    "is_transient",
    "keep_plans",
    "kept_plans",
    "own_session",
    "refuse_pooled",
    "served",
    "sql",
    "transaction",
]

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

# Note [text of values]: rows travel as PostgreSQL's text of each value, so both ends must write and read it alike
# whatever the server, the role or the database say; lossless for every type that has input and output functions.
PINNED = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "client_encoding": "UTF8",
}

# Note [vanished peers]. A host that disappears closes no connection, and the kernel's own patience is two hours, during
# which the server keeps the session's locks. So the server asks the peer too, on each of our sessions.
LIVENESS = {
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


PREPARE_AFTER = 3


def connect(alias: str, purpose: str, *, raw_json: bool = False, database: str = "") -> Connection:
    """Open an autocommit connection to the Django database `alias`, named strangle:`purpose` in pg_stat_activity.

    It goes where DIRECT says, if that names the alias, or to another `database` of that server, and into the schema
    that the `options` of the alias name as search_path. With `raw_json` JSON
    columns arrive as text, so that large numbers and key order survive.

    Raises:
        StrangleError: the alias is unknown, not PostgreSQL, the server does not answer, or a pooler in transaction
            mode stands between; see Note [poolers].
    """
    if alias not in connections.settings:
        raise StrangleError(f"database alias {alias!r} is not in settings.DATABASES; add it or fix the playbook")
    wrapper = connections[alias]
    if wrapper.vendor != "postgresql":
        raise StrangleError(f"database {alias!r} is {wrapper.vendor}; the toolkit moves PostgreSQL databases")
    params = {
        key: value
        for key, value in wrapper.get_connection_params().items()
        if key in {"host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "service", "passfile"}
    }
    params |= {_PARAMETERS[name]: value for name, value in settings().DIRECT.get(alias, {}).items()}
    if database:
        params["dbname"] = database
    conn = _open(alias, purpose, params)
    if pooling.is_proxied(conn):
        refuse_pooled(conn, alias, purpose, params)
        _pin(conn)
    if path := _search_path(str(wrapper.get_connection_params().get("options", ""))):
        conn.execute("SELECT set_config('search_path', %s, false)", [path])
    if raw_json:
        set_json_loads(lambda text: text.decode() if isinstance(text, bytes) else text, conn)
    return conn


def _search_path(options: str) -> str:
    """The search_path that libpq's `options` of a Django database set, for a side that lives in a schema."""
    found = re.findall(r"(?:-c\s*|--)search_path=((?:\\.|\S)+)", options)
    return re.sub(r"\\(.)", r"\1", found[-1]) if found else ""


def refuse_pooled(conn: Connection, alias: str, purpose: str, params: dict[str, Any] | None = None) -> None:
    """Make sure that a connection keeps its server session, or close it and say how to have one; costs a second one.

    Raises:
        StrangleError: a pooler in transaction mode stands between.
    """
    mine = conn.info.get_parameters() | {"password": conn.info.password}
    # Closed at once and whatever it does: it may still be waiting for a session.
    with contextlib.closing(_open(alias, purpose, mine | (params or {}))) as other:
        shared = pooling.shares_sessions(conn, other)
    if shared:
        conn.close()
        raise StrangleError(
            f"database {alias!r} is behind a pooler in transaction mode, where locks, notifications and settings of "
            f"{purpose!r} would be another session's; set MIGRATION_TOOLS['DIRECT'][{alias!r}] to the server's own "
            "'HOST' and 'PORT', or let the pooler use session mode (docs/how-to/run-on-many-machines.md)"
        )


#: What DIRECT may say of a database, and what libpq calls it.
_PARAMETERS = {"HOST": "host", "PORT": "port", "NAME": "dbname", "USER": "user", "PASSWORD": "password"}
_UNKNOWN_OPTION = "unsupported startup parameter"


def _open(alias: str, purpose: str, params: dict[str, Any]) -> Connection:
    options = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in (PINNED | LIVENESS).items())
    given: dict[str, Any] = {
        **{name: value for name, value in params.items() if name in _LIBPQ},
        "autocommit": True,
        "application_name": f"strangle:{purpose}",
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
    }
    try:
        try:
            return psycopg.connect(**given, options=options)
        except psycopg.OperationalError as error:
            if _UNKNOWN_OPTION not in str(error):
                raise
            # A pooler that knows no such parameter; the settings are made when it is known to keep sessions.
            return psycopg.connect(**given)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise StrangleError(
            f"database {alias!r} does not answer: {reason}; start it, then run the same command again"
        ) from error


_LIBPQ = {"host", "hostaddr", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "service", "passfile"}


def _pin(conn: Connection, *, local: bool = False) -> None:
    for name, value in (PINNED | LIVENESS).items():
        conn.execute("SELECT set_config(%s, %s, %s)", [name, value, local])


def django_connection(alias: str) -> Connection:
    """The psycopg connection under Django's `alias`, pinned like our own; inside atomic() it shares its transaction.

    Behind a pooler it is pinned for the running transaction alone, since a session may be somebody else's next.

    Raises:
        StrangleError: Django uses another driver for it.
    """
    wrapper = connections[alias]
    wrapper.ensure_connection()
    conn = wrapper.connection
    if not isinstance(conn, psycopg.Connection):
        raise StrangleError(f"database {alias!r} is driven by {type(conn).__module__}; consumers need psycopg 3")
    if conn in _pinned:
        return conn
    if not is_pooled(conn):
        _pin(conn)
        _pinned.add(conn)
    elif wrapper.in_atomic_block:
        _pin(conn, local=True)
    return conn


def own_session(alias: str, purpose: str) -> Connection:
    """The psycopg connection under Django's `alias`, for a process that keeps locks and plans on it.

    It is named strangle:`purpose` in pg_stat_activity, as our own are.

    Raises:
        StrangleError: a pooler in transaction mode stands between, or Django uses another driver.
    """
    conn = django_connection(alias)
    if conn not in _pinned:
        refuse_pooled(conn, alias, purpose)
        _pin(conn)
        _pinned.add(conn)
    if conn.info.parameter_status("application_name") != (name := f"strangle:{purpose}"):
        conn.execute("SELECT set_config('application_name', %s, false)", [name])
    return conn


def is_pooled(conn: Connection) -> bool:
    """Whether a pooler of any mode stands between; asked once a connection."""
    if conn not in _proxied:
        if conn.info.transaction_status is TransactionStatus.INERROR:
            return False
        _proxied[conn] = pooling.is_proxied(conn)
    return _proxied[conn]


def keep_plans(conn: Connection) -> None:
    """Let the server plan a repeated statement of `served` once; for a session that is ours, behind no pooler."""
    conn.prepare_threshold = PREPARE_AFTER


@contextmanager
def kept_plans(conn: Connection) -> "Iterator[psycopg.Cursor[tuple[Any, ...]]]":
    """A `served` cursor with plans kept, for the block: what an application does with its connection stays the same."""
    before = conn.prepare_threshold
    keep_plans(conn)
    try:
        yield served(conn)
    finally:
        conn.prepare_threshold = before


def served(conn: Connection) -> "psycopg.Cursor[tuple[Any, ...]]":
    """A cursor whose parameters the server binds, also on a connection whose own cursors write them into the text."""
    return psycopg.Cursor(conn)


_pinned: "weakref.WeakSet[Connection]" = weakref.WeakSet()
_proxied: "weakref.WeakKeyDictionary[Connection, bool]" = weakref.WeakKeyDictionary()


@contextmanager
def transaction(
    conn: Connection, *, repeatable: bool = False, lock_timeout_seconds: float | None = None
) -> Iterator[None]:
    """Run the block in one transaction of its own; REPEATABLE READ when `repeatable`."""
    with _beginning(conn, IsolationLevel.REPEATABLE_READ if repeatable else None), conn.transaction():
        if lock_timeout_seconds is not None:
            conn.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(lock_timeout_seconds * 1000)}ms"])
        yield


def commit_soon(conn: Connection) -> None:
    """Let the running transaction's commit not wait for the disk, nor for a synchronous standby.

    A server that crashes may lose it, and then whatever was committed after it.
    """
    conn.execute("SELECT set_config('synchronous_commit', 'off', true)")


@contextmanager
def _beginning(conn: Connection, level: IsolationLevel | None) -> Iterator[None]:
    """Let transactions begun in the block have this level, said by BEGIN itself."""
    if level is None:
        yield
        return
    conn.set_isolation_level(level)
    try:
        yield
    finally:
        if not conn.closed:
            conn.set_isolation_level(None)


def is_lost(error: BaseException) -> bool:
    """Whether `error` means the server or the connection went away, so that trying again may help."""
    if isinstance(error, errors.IdleInTransactionSessionTimeout):
        return True
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        getattr(error, "sqlstate", None) is None or str(error.sqlstate)[:2] in {"08", "57"}
    )


# Connection exceptions, transaction rollbacks (serialization, deadlock), lack of resources, system errors.
TRANSIENT_CLASSES = frozenset({"08", "40", "53", "58"})
# A lock that could not be had; the server or an administrator ended the session.
TRANSIENT_STATES = frozenset({"55P03", "57P01", "57P02", "57P03", "57P05"})


def is_transient(error: BaseException | None) -> bool:
    """Whether `error`, or what caused it (Django wraps the driver's errors), says nothing of the statement itself."""
    while error is not None:
        if isinstance(error, psycopg.Error):
            state = str(error.sqlstate or "")
            return state[:2] in TRANSIENT_CLASSES or state in TRANSIENT_STATES or (not state and is_lost(error))
        error = error.__cause__
    return False


def describe_failure(error: BaseException) -> str:
    """One line of what PostgreSQL said, without values of rows (its DETAIL may hold personal data)."""
    diagnosis = getattr(error, "diag", None)
    message = getattr(diagnosis, "message_primary", None)
    return str(message or str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
