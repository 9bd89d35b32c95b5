"""Pipe rows between two databases block by block with COPY, in binary where every type allows."""

import re
from collections.abc import Sequence

from migration_tools.stores.postgres.connection import Connection, sql

BLOCK_BYTES = 1 << 17

# Built-in types whose binary form is the same on every server; others travel as text.
_BINARY = re.compile(
    r"(bigint|integer|smallint|boolean|text|character varying(\(\d+\))?|uuid|jsonb|date|numeric(\(\d+,\d+\))?"
    r"|timestamp with(out)? time zone|double precision|real|bytea|interval|inet)\Z"
)


def pipe(
    source: Connection,
    query: sql.Composed,
    target: Connection,
    table: str,
    columns: Sequence[str],
    types: Sequence[str],
) -> int:
    """COPY the query's rows into the table within the target's running transaction; returns how many rows.

    `types` are the target's column types, to which the query must have cast.
    """
    how = sql.SQL("(FORMAT binary)") if all(_BINARY.match(name) for name in types) else sql.SQL("(FORMAT text)")
    names = sql.SQL(", ").join(sql.Identifier(name) for name in columns)
    out = sql.SQL("COPY ({}) TO STDOUT {}").format(query, how)
    into = sql.SQL("COPY {} ({}) FROM STDIN {}").format(sql.Identifier(table), names, how)
    reading, writing = source.cursor(), target.cursor()
    with reading.copy(out) as rows, writing.copy(into) as sink:
        waiting: list[bytes] = []
        size = 0
        for block in rows:
            # The server sends a message a row; sent on one by one they would cost more than the rows.
            waiting.append(bytes(block))
            size += len(block)
            if size >= BLOCK_BYTES:
                sink.write(b"".join(waiting))
                waiting, size = [], 0
        sink.write(b"".join(waiting))
    return writing.rowcount
