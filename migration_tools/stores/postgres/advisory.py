"""Advisory locks as blocks: taken by name, released by the block or by the death of the process."""

from collections.abc import Iterator
from contextlib import contextmanager

from migration_tools.kernel.locks import LockClass, lock_keys
from migration_tools.stores.postgres.connection import Connection


def try_hold(conn: Connection, purpose: LockClass, name: str) -> bool:
    """Take the session-level exclusive lock at once or not at all; it lives as long as the connection."""
    row = conn.execute("SELECT pg_try_advisory_lock(%s, %s)", lock_keys(purpose, name)).fetchone()
    return bool(row and row[0])


def release(conn: Connection, purpose: LockClass, name: str) -> None:
    """Give a session-level lock back."""
    conn.execute("SELECT pg_advisory_unlock(%s, %s)", lock_keys(purpose, name))


def hold(conn: Connection, purpose: LockClass, name: str) -> None:
    """Take the session-level exclusive lock, waiting for it as long as lock_timeout allows."""
    conn.execute("SELECT pg_advisory_lock(%s, %s)", lock_keys(purpose, name))


@contextmanager
def held(conn: Connection, purpose: LockClass, name: str) -> Iterator[None]:
    """Hold the session-level exclusive lock for the block, waiting for it as long as lock_timeout allows."""
    hold(conn, purpose, name)
    try:
        yield
    finally:
        if not conn.closed:
            release(conn, purpose, name)


def share(conn: Connection, purpose: LockClass, name: str) -> None:
    """Take the shared lock until the running transaction ends."""
    conn.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", lock_keys(purpose, name))


def take(conn: Connection, purpose: LockClass, name: str) -> None:
    """Take the exclusive lock until the running transaction ends."""
    conn.execute("SELECT pg_advisory_xact_lock(%s, %s)", lock_keys(purpose, name))


def holder(conn: Connection, purpose: LockClass, name: str) -> str | None:
    """Who holds the lock, for a message: application, role and process id; None when nobody."""
    first, second = lock_keys(purpose, name)
    row = conn.execute(
        """SELECT CASE WHEN l.pid IS NULL THEN 'a prepared transaction (see pg_prepared_xacts)'
                       ELSE format('%%s (role %%s, process %%s)', a.application_name, a.usename, l.pid) END
           FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
           WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = %s
             AND l.objid::bigint = %s AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           LIMIT 1""",
        [first, second & 0xFFFF_FFFF],
    ).fetchone()
    return str(row[0]) if row else None
