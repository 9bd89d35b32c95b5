"""Several statements in one message to the server: one round trip, one turn on a core.

Note [flights]. libpq's pipeline mode would send them one by one, and until its Sync the server does not count a silent
session as idle: the lease of a relay that is stopped in between would not end. A message of the simple protocol is all
there or not there at all, and behind it the session is idle again. The protocol cannot prepare what is in such a
message, so plans are kept by PREPARE. psycopg drops prepared statements with every rollback, of a savepoint too, which
nobody is told of: `planned` is for the first flight of a transaction, which is made again from its beginning.
"""

import itertools
import re
import weakref
from collections.abc import Sequence
from typing import Any, TypeAlias

import psycopg

from migration_tools.stores.postgres.connection import Connection, errors

Row: TypeAlias = tuple[Any, ...]
Step: TypeAlias = tuple[str, Sequence[Any]] | str

_numbers = itertools.count(1)
_prepared: "weakref.WeakKeyDictionary[Connection, dict[str, str]]" = weakref.WeakKeyDictionary()


def fly(conn: Connection, *steps: Step) -> list[list[Row]]:
    """Execute the steps in order; gives the rows of each, none for a command.

    A step is a command (COMMIT), or a statement with %s for its parameters and these. When one fails, those behind it
    are not executed, and its error is raised.
    """
    return _fly(conn, [step if isinstance(step, str) else _written(conn, *step) for step in steps])


def take_off(conn: Connection, begin: str, *steps: Step) -> list[list[Row]]:
    """Begin a transaction by this command and execute the steps, each planned once a session; gives the rows of each.

    For sessions of our own, behind no pooler, and outside any transaction.
    """
    try:
        return _fly(conn, [begin, *(step if isinstance(step, str) else _planned(conn, *step) for step in steps)])[1:]
    except errors.InvalidSqlStatementName:
        conn.rollback()
        _prepared.pop(conn, None)
        return _fly(conn, [begin, *(step if isinstance(step, str) else _planned(conn, *step) for step in steps)])[1:]


def _fly(conn: Connection, texts: Sequence[str]) -> list[list[Row]]:
    cursor = psycopg.ClientCursor(conn)
    cursor.execute("; ".join(texts).encode())
    answers = []
    while True:
        answers.append(cursor.fetchall() if cursor.description else [])
        if not cursor.nextset():
            return answers


def _written(conn: Connection, statement: str, params: Sequence[Any]) -> str:
    return psycopg.ClientCursor(conn).mogrify(statement.encode(), params)


def _planned(conn: Connection, statement: str, params: Sequence[Any]) -> str:
    names = _prepared.setdefault(conn, {})
    if statement not in names:
        name, places = f"flight_{next(_numbers)}", itertools.count(1)
        numbered = re.sub("%([s%])", lambda found: f"${next(places)}" if found[1] == "s" else "%", statement)
        conn.execute(f"PREPARE {name} AS {numbered}".encode(), prepare=False)
        names[statement] = name
    return _written(conn, f"EXECUTE {names[statement]}({', '.join(['%s'] * len(params))})", params)
