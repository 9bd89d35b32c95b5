"""Pass PostgreSQL's copy data from one connection to another on libpq's own level, in binary where every type allows.

Note [copy data is passed on, not read]. No row is decoded here. libpq hands over one message a row, so blocks of them
are joined: sent on one by one they would cost the receiving server more than the rows do. The source is read without
blocking and waited for without Python's lock, so that other threads and signals go on. Whatever fails on one side, the
other is told (its COPY is cancelled, or ended with the reason), and both connections are left idle in the transaction
they were in, which the failure has aborted, or closed when the server is gone.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from psycopg import errors, pq
from psycopg.abc import PQGen
from psycopg.waiting import Wait

from migration_tools.stores.postgres.connection import Connection, sql

# Far larger blocks make libpq slower: it moves what it could not send yet to the front of its buffer each time.
BLOCK_BYTES = 1 << 16

# Built-in types whose binary form is the same on every server; others travel as text.
_BINARY = re.compile(
    r"(bigint|integer|smallint|boolean|text|character varying(\(\d+\))?|uuid|jsonb|date|numeric(\(\d+,\d+\))?"
    r"|timestamp with(out)? time zone|double precision|real|bytea|interval|inet)\Z"
)


@dataclass(frozen=True, kw_only=True)
class Piped:
    """What one COPY moved."""

    rows: int
    bytes: int


def pipe(
    source: Connection,
    query: sql.Composed,
    target: Connection,
    table: str,
    columns: Sequence[str],
    types: Sequence[str],
    *,
    through: Callable[[Iterable[bytes]], Iterable[bytes]] | None = None,
) -> Piped:
    """COPY the query's rows into the table within the target's running transaction.

    `types` are the target's column types, to which the query must have cast. With `through` the copy data is text, in
    blocks of whole rows, and what comes out of it is written.

    Raises:
        psycopg.Error: of the side that failed; see Note [copy data is passed on, not read].
    """
    binary = through is None and all(_BINARY.match(name) for name in types)
    how = sql.SQL("(FORMAT binary)") if binary else sql.SQL("(FORMAT text)")
    names = sql.SQL(", ").join(sql.Identifier(name) for name in columns)
    out = sql.SQL("COPY ({}) TO STDOUT {}").format(query, how)
    into = sql.SQL("COPY {} ({}) FROM STDIN {}").format(sql.Identifier(table), names, how)
    reading, writing = source.cursor(), target.cursor()
    size = 0
    with reading.copy(out), writing.copy(into) as sink:
        for block in _blocks(source) if through is None else through(_blocks(source)):
            size += len(block)
            sink.write(block)
    return Piped(rows=writing.rowcount, bytes=size)


def blocks_of(source: Connection, query: sql.Composed) -> Iterator[bytes]:
    """The query's rows as COPY text, in blocks of whole rows."""
    reading = source.cursor()
    with reading.copy(sql.SQL("COPY ({}) TO STDOUT").format(query)):
        yield from _blocks(source)


def _blocks(source: Connection) -> Iterator[bytes]:
    """Take the copy data of the connection, joined to blocks, and then the outcome of its command."""
    pgconn = source.pgconn
    receive = pgconn.get_copy_data
    rows: list[memoryview] = []
    size = 0
    while True:
        length, row = receive(1)
        if length > 0:
            rows.append(row)
            size += length
            if size >= BLOCK_BYTES:
                yield b"".join(rows)
                rows, size = [], 0
        elif length == 0:
            source.wait(_arrival(pgconn))
        else:
            break
    if rows:
        yield b"".join(rows)
    source.wait(_outcome(pgconn))


def _arrival(pgconn: pq.abc.PGconn) -> PQGen[None]:
    while not (yield Wait.R):
        continue
    pgconn.consume_input()


def _outcome(pgconn: pq.abc.PGconn) -> PQGen[None]:
    failure: errors.Error | None = None
    while True:
        while pgconn.is_busy():
            yield from _arrival(pgconn)
        result = pgconn.get_result()
        if result is None:
            break
        if result.status != pq.ExecStatus.COMMAND_OK:
            failure = errors.error_from_result(result)
    if failure is not None:
        raise failure
