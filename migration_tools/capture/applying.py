"""Tell capture that a transaction is the apply path's own, whichever way its keys are captured."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from migration_tools.conf import settings
from migration_tools.stores.postgres import Connection, django_connection, served

MARK: Final = "strangle.applying"


def mark_applying(conn: Connection, mode: str, stream: str = "") -> None:
    """Mark what this transaction writes from here on: 'row', 'patch', or '' for an application's own writes.

    See Note [applying] in capture.triggers; with a `stream`, the triggers of other streams take the writes for an
    application's. Triggers read the settings. The log holds none, so for a stream that
    is read from it the same mark is written into the transaction, with the token that only the owner of the
    toolkit's tables can read: nobody else's mark is believed. Both end with a savepoint that is rolled back.
    """
    served(conn).execute(
        """SELECT set_config('strangle.applying', %s, true), set_config('strangle.applying_stream', %s, true), (
               SELECT count(pg_logical_emit_message(true, %s, token || ':' || %s)) FROM strangle_log_source)""",
        [mode, stream, MARK, mode],
    )


@contextmanager
def keeping_replicas(*, using: str | None = None) -> Iterator[None]:
    """Let handlers of the block write tables that are replicas of another context, by what its owner's events say.

    For the time after that context has left the monolith, whose sync kept them until then. Call inside `atomic()`, as
    a role that owns the toolkit's tables, as consumers do; nothing written in the block is captured.
    """
    conn = django_connection(using or settings().DATABASE)
    mark_applying(conn, "patch")
    yield
    mark_applying(conn, "")
