"""Find out whether a pooler gives the transactions of one connection to different server sessions.

Note [poolers]. The toolkit's sessions hold advisory locks, listen, and pin how values are written; all three belong to
a server session. A pooler in transaction mode lets a client keep none, and says nothing: the lock stays with a session
that serves somebody else by then. So who needs a session makes sure that it has one. A pooler makes up the process id
that it sends when a connection begins, since it has no session yet; where it differs from the one that answers,
somebody stands between. Whether sessions are shared is then seen with a second connection: in transaction mode its
open transaction takes the session that the first one has just used, or makes the first one use another. In session
mode, and without a pooler, a connection keeps the one it has.
"""

import select
import time

import psycopg
from psycopg.pq import TransactionStatus

ANSWER_SECONDS = 2.0
ROUNDS = 3


def is_proxied(conn: "psycopg.Connection[tuple[object, ...]]") -> bool:
    """Whether another process answers than the one that the connection began with."""
    return _session(conn, b"SELECT pg_backend_pid()") != conn.info.backend_pid


def shares_sessions(
    conn: "psycopg.Connection[tuple[object, ...]]", other: "psycopg.Connection[tuple[object, ...]]"
) -> bool:
    """Whether two idle connections through the same pooler are given each other's sessions: transaction pooling.

    False where the second one waits for a session, as it does in session mode when the pool is used up. A pooler that
    has more sessions idle than connections might hide it; then the sign is only missed while nothing is shared.
    """
    for _ in range(ROUNDS):
        mine = _session(conn, b"SELECT pg_backend_pid()")
        theirs = _session(other, b"BEGIN; SELECT pg_backend_pid()")
        try:
            if theirs is None:
                return False
            if theirs == mine or _session(conn, b"SELECT pg_backend_pid()") != mine:
                return True
        finally:
            if other.info.transaction_status is not TransactionStatus.ACTIVE:
                _session(other, b"ROLLBACK")
    return False


def _session(conn: "psycopg.Connection[tuple[object, ...]]", query: bytes) -> int | None:
    """The number that the last statement of a simple query answers; None when it answers none, or not in time."""
    pgconn, found = conn.pgconn, None
    deadline = time.monotonic() + ANSWER_SECONDS
    pgconn.send_query(query)
    while True:
        pgconn.flush()
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                return found
            if result.ntuples:
                found = int(result.get_value(0, 0) or 0)
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pgconn.socket], [], [], left)[0]:
            return None
        pgconn.consume_input()
