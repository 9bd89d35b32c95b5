"""Change tables that customers use: short locks, asked for again and again, so that they hardly wait."""

from collections.abc import Callable

from migration_tools.conf import settings
from migration_tools.errors import FenceBusy
from migration_tools.stores.postgres.connection import Connection, errors, transaction

ATTEMPTS = 40


def with_short_locks(conn: Connection, table: str, work: Callable[[], object], wait: Callable[[float], None]) -> None:
    """Run DDL so that customers wait at most the lock timeout behind it: we are the one who steps back."""
    timeout = settings().DDL_LOCK_TIMEOUT_SECONDS
    for attempt in range(ATTEMPTS):
        try:
            with transaction(conn, lock_timeout_seconds=min(timeout, 0.05 * 2**attempt)):
                work()
            return
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            wait(min(0.02 * 2**attempt, 1.0))
    raise FenceBusy(
        f"table {table!r} stayed locked by a long transaction in {ATTEMPTS} attempts; what is installed stays. "
        "End it (strangle_doctor names it), then run the same command again"
    )
