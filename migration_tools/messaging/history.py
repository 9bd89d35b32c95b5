"""A stream's ticks name transactions; in a cluster that a dump was loaded into, these numbers mean others.

Note [another history]. A tick is told from the next by transaction ids. A dump carries the ticks and the outbox along,
and a new cluster counts its transactions from the beginning: what is written there looks as if it had been numbered
long ago, and would never be. That shows as long as the last tick's snapshot lies in this cluster's future; then nothing
is numbered. Beginning anew draws another identity, since positions given from here on may have been given before, so
consumers stop until somebody has compared the rows.
"""

from migration_tools.kernel.locks import LockClass
from migration_tools.stores.postgres import Connection, advisory, transaction

# The relay asks the same together with its own questions; see messaging.ticks.
_IS_BROKEN = """SELECT pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(pg_current_snapshot())
                FROM strangle_tick WHERE stream = %s ORDER BY number DESC LIMIT 1"""

_ANCHOR = """INSERT INTO strangle_tick (stream, number, snapshot, base, records)
             SELECT stream, number + 1, pg_current_snapshot(), base + records, 0
             FROM strangle_tick WHERE stream = %s ORDER BY number DESC LIMIT 1"""

_FORGET = """DELETE FROM strangle_outbox o WHERE stream = %s AND kind = 'e'
               AND EXISTS (SELECT FROM strangle_stream s WHERE s.stream = o.stream AND s.event_id = o.event_id)"""

_TAKE_AGAIN = "UPDATE strangle_outbox SET xid = pg_current_xact_id() WHERE stream = %s"


def is_broken(conn: Connection, stream: str) -> bool:
    """Whether the stream was numbered in another cluster, as far as transaction ids tell."""
    row = conn.execute(_IS_BROKEN, [stream]).fetchone()
    return bool(row and row[0])


def begin_anew(conn: Connection, stream: str) -> bool:
    """Let the stream go on in this cluster's history; False when it does already. Opens its own transaction.

    All touches that are still in the outbox are taken again, which tells what the rows are now; events too, except
    those that the stream still has. Writers wait meanwhile, since whoever has begun must be seen to its end.
    """
    with advisory.held(conn, LockClass.TICK, stream), transaction(conn, repeatable=True):
        conn.execute("LOCK TABLE strangle_outbox IN EXCLUSIVE MODE")
        if not is_broken(conn, stream):
            return False
        # The snapshot comes before this transaction's own number, so rows that carry it are news to the next tick.
        conn.execute(_ANCHOR, [stream])
        conn.execute(_FORGET, [stream])
        conn.execute(_TAKE_AGAIN, [stream])
        conn.execute("UPDATE strangle_stream_identity SET identity = gen_random_uuid() WHERE stream = %s", [stream])
    return True
