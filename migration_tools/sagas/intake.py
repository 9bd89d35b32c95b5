"""Whether sagas of a context may begin: closed while its owner changes, so that none is open at that moment.

Note [intake]. Who begins a saga shares the context's row; who closes the intake locks it, and so waits for those that
are beginning. After that no saga appears, and counting the open ones is final. The closing ends by itself, so that a
killed operator leaves nothing closed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections

from migration_tools.errors import IntakeClosed

if TYPE_CHECKING:
    from migration_tools.stores.postgres import Connection


@dataclass(frozen=True, kw_only=True)
class OpenSagas:
    """The open sagas of a context in one database: how many, since when, and which are the oldest."""

    count: int
    alarmed: int
    oldest_seconds: float
    oldest: tuple[str, ...]


def enter(using: str, context: str) -> None:
    """Begin a saga of the context, in the caller's transaction.

    Raises:
        IntakeClosed: the context is being handed over; try again in a moment.
    """
    with connections[using].cursor() as cursor:
        query = "SELECT closed_until > clock_timestamp(), reason FROM saga_intake WHERE context = %s FOR SHARE"
        cursor.execute(query, [context])
        row = cursor.fetchone()
        if row is None:
            cursor.execute("INSERT INTO saga_intake (context) VALUES (%s) ON CONFLICT DO NOTHING", [context])
            cursor.execute(query, [context])
            row = cursor.fetchone()
    if row is not None and row[0]:
        raise IntakeClosed(
            f"no saga of {context!r} begins now ({row[1] or 'it is handed over'}); nothing was done, try again in a "
            f"moment"
        )


def open_sagas(conn: "Connection", context: str) -> OpenSagas | None:
    """The context's open sagas in this database; None where no sagas are kept."""
    row = conn.execute("SELECT to_regclass('saga_state') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    found = conn.execute(
        """SELECT count(*), count(*) FILTER (WHERE alarm <> ''),
                  COALESCE(EXTRACT(epoch FROM clock_timestamp() - min(created_at)), 0)::float,
                  COALESCE((array_agg(saga_type || ' ' || saga_id ORDER BY created_at))[1:3], '{}')
           FROM saga_state WHERE context = %s AND status IN ('running', 'compensating')""",
        [context],
    ).fetchone()
    count, alarmed, seconds, oldest = found if found is not None else (0, 0, 0.0, [])
    return OpenSagas(count=count, alarmed=alarmed, oldest_seconds=round(seconds, 1), oldest=tuple(oldest))


def close(conn: "Connection", context: str, *, seconds: float, reason: str) -> None:
    """Let no saga of the context begin for so long; waits for those that are beginning. See Note [intake].

    Commits at once; LockNotAvailable when a beginning takes longer than the connection's lock_timeout.
    """
    conn.execute(
        """INSERT INTO saga_intake (context, closed_until, reason)
           VALUES (%(context)s, clock_timestamp() + make_interval(secs => %(seconds)s), %(reason)s)
           ON CONFLICT (context) DO UPDATE SET closed_until = EXCLUDED.closed_until, reason = EXCLUDED.reason""",
        {"context": context, "seconds": seconds, "reason": reason},
    )


def reopen(conn: "Connection", context: str) -> None:
    """Let sagas of the context begin again."""
    conn.execute("UPDATE saga_intake SET closed_until = NULL, reason = '' WHERE context = %s", [context])
