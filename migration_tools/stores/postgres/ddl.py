"""Change tables that customers use: short locks, asked for again and again, so that they hardly wait.

Note [no deadlock]. One table is waited for while none is held; the others must be free at that moment, or all are let
go and the one that was not is the one waited for next. Nobody who holds a table ever waits for another, so a customer
who takes the same tables in any order is never the victim that PostgreSQL ends (Havender's first approach, 1968).
"""

from collections.abc import Callable, Sequence

from migration_tools.conf import settings
from migration_tools.errors import FenceBusy
from migration_tools.stores.postgres.connection import Connection, errors, sql, transaction

ATTEMPTS = 40


def with_short_locks(
    conn: Connection, tables: Sequence[sql.Composable], work: Callable[[], object], wait: Callable[[float], None]
) -> None:
    """Lock the tables and run DDL on them in one transaction; customers wait at most the lock timeout behind it.

    Raises:
        FenceBusy: they were never all free; nothing was changed.
    """
    timeout = settings().DDL_LOCK_TIMEOUT_SECONDS
    order = list(tables)
    for attempt in range(ATTEMPTS):
        try:
            with transaction(conn, lock_timeout_seconds=min(timeout, 0.05 * 2**attempt)):
                _lock(conn, order)
                work()
            return
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            wait(min(0.02 * 2**attempt, 1.0))
    names = ", ".join(table.as_string(conn) for table in tables) or "what the toolkit made"
    raise FenceBusy(
        f"{names} stayed locked by a long transaction in {ATTEMPTS} attempts; what is installed stays. "
        "End it (strangle_doctor names it), then run the same command again"
    )


def _lock(conn: Connection, order: list[sql.Composable]) -> None:
    """Wait for the first table only; one of the others that is in use becomes the first. See Note [no deadlock]."""
    for number, table in enumerate(order):
        at_once = sql.SQL(" NOWAIT" if number else "")
        try:
            conn.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE{}").format(table, at_once))
        except errors.LockNotAvailable:
            order.insert(0, order.pop(number))
            raise
