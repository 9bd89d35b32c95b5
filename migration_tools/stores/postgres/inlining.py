"""Write a compiled query's literals into its text, by the driver's own quoting, so that it can be kept as text."""

from collections.abc import Sequence
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper


def inline(wrapper: BaseDatabaseWrapper, query: str, params: Sequence[Any]) -> str:
    """The query as one text without parameters."""
    wrapper.ensure_connection()
    conn = wrapper.connection
    if not isinstance(conn, psycopg.Connection):
        raise TypeError(f"playbooks are compiled with psycopg 3, not {type(conn).__module__}")
    return str(psycopg.ClientCursor(conn).mogrify(query, tuple(params)))


def quote(name: str) -> str:
    """An identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'
