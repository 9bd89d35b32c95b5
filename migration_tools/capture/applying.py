"""Tell capture that a transaction is the apply path's own, whichever way its keys are captured."""

from typing import Final

from migration_tools.stores.postgres import Connection, served

MARK: Final = "strangle.applying"


def mark_applying(conn: Connection, mode: str) -> None:
    """Mark what this transaction writes from here on: 'row', 'patch', or '' for an application's own writes.

    See Note [applying] in capture.triggers. Triggers read the setting. The log holds no settings, so for a stream that
    is read from it the same mark is written into the transaction, with the token that only the owner of the
    toolkit's tables can read: nobody else's mark is believed. Both end with a savepoint that is rolled back.
    """
    served(conn).execute(
        """SELECT set_config('strangle.applying', %s, true), (
               SELECT count(pg_logical_emit_message(true, %s, token || ':' || %s)) FROM strangle_log_source)""",
        [mode, MARK, mode],
    )
