"""Several statements in one message to the server, each planned once a session: one round trip, one turn on a core.

Note [flights]. libpq's pipeline mode would send them one by one, and until its Sync the server does not count a silent
session as idle: the lease of a relay that is stopped in between would not end. A message of the simple protocol is all
there or not there at all, and behind it the session is idle again. Plans are kept by PREPARE, since a statement in such
a message cannot be prepared by the protocol.
"""

import itertools
import re
import weakref
from collections.abc import Sequence
from typing import Any, TypeAlias

import psycopg

from migration_tools.stores.postgres.connection import Connection

Row: TypeAlias = tuple[Any, ...]
Step: TypeAlias = tuple[str, Sequence[Any]] | str

_numbers = itertools.count(1)
_prepared: "weakref.WeakKeyDictionary[Connection, dict[str, str]]" = weakref.WeakKeyDictionary()


def fly(conn: Connection, *steps: Step) -> list[list[Row]]:
    """Execute the steps in order; gives the rows of each, none for a command.

    A step is a command (BEGIN, COMMIT), or a statement with %s for its parameters and these. For sessions of our own,
    behind no pooler. When one fails, those behind it are not executed, and its error is raised.
    """
    texts = []
    for step in steps:
        if isinstance(step, str):
            texts.append(step)
        else:
            texts.append(_executing(conn, *step))
    cursor = psycopg.ClientCursor(conn)
    cursor.execute("; ".join(texts).encode())
    answers = []
    while True:
        answers.append(cursor.fetchall() if cursor.description else [])
        if not cursor.nextset():
            return answers


def forget_plans(conn: Connection) -> None:
    """Prepare anew what flies next: after a rollback, with which psycopg drops every prepared statement."""
    _prepared.pop(conn, None)


def _executing(conn: Connection, statement: str, params: Sequence[Any]) -> str:
    names = _prepared.setdefault(conn, {})
    if statement not in names:
        names[statement] = f"flight_{next(_numbers)}"
        places = itertools.count(1)
        numbered = re.sub("%([s%])", lambda found: f"${next(places)}" if found[1] == "s" else "%", statement)
        conn.execute(f"PREPARE {names[statement]} AS {numbered}".encode(), prepare=False)
    given = psycopg.ClientCursor(conn).mogrify(", ".join(["%s"] * len(params)), params) if params else ""
    return f"EXECUTE {names[statement]}({given})" if given else f"EXECUTE {names[statement]}"
