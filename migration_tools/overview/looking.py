"""Short reads of one database for the overview, on a connection of Django's or of ours; patient for seconds only."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.utils import Error as DatabaseFailure
from django.utils.connection import ConnectionDoesNotExist

from migration_tools.errors import StrangleError
from migration_tools.stores.postgres import describe_failure

PATIENCE_MS = 5000


def rows(conn: Any, query: str, params: Sequence[Any] = ()) -> list[Any]:
    """What a query gives, whichever driver the connection has."""
    with conn.cursor() as cursor:
        cursor.execute(query, list(params))
        return list(cursor.fetchall())


@contextmanager
def looking(alias: str) -> Iterator[Any]:
    """Django's connection to a database for reading alone, closed at the end: nobody keeps one to the other side.

    Raises:
        StrangleError: there is no such database, it does not answer, or not in time.
    """
    try:
        conn = connections[alias]
    except ConnectionDoesNotExist:
        raise StrangleError(f"database alias {alias!r} is not in settings.DATABASES of this process") from None
    try:
        with conn.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, false),"
                " set_config('default_transaction_read_only', 'on', false)",
                [str(PATIENCE_MS)],
            )
        yield conn
    except DatabaseFailure as error:
        raise StrangleError(f"database {alias!r}: {describe_failure(error)}") from error
    finally:
        conn.close()
