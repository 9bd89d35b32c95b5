"""A transaction whose statements wait for no answer but one that is asked for: one round trip for many statements."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg

from migration_tools.stores.postgres.connection import Connection


@contextmanager
def pipelined(conn: Connection) -> Iterator[None]:
    """Run the block in one transaction of its own, sending statement after statement in libpq's pipeline mode.

    Whoever fetches waits for the answers so far; the end of the block waits for all, so behind it the transaction is
    committed. A statement that fails may say so at a later fetch or at the end, and the whole is rolled back. For a
    connection in autocommit mode. A libpq before 14 waits for each answer.
    """
    try:
        with conn.pipeline() if psycopg.Pipeline.is_supported() else nullcontext():
            conn.execute("BEGIN")
            yield
            conn.execute("COMMIT")
    except BaseException:
        if not conn.closed:
            conn.rollback()
        raise


def counted(cursor: "psycopg.Cursor[Any]") -> int:
    """How many rows a statement touched, which in a pipeline only its answer says (`rowcount` is -1 until then)."""
    if cursor.rowcount < 0 and cursor.connection.pgconn.pipeline_status:
        with cursor.connection.pipeline() as pipeline:
            pipeline.sync()
    return cursor.rowcount
