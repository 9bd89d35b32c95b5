"""Empty what nobody needs any more: whole leaves of outbox and stream, and ticks without records.

Note [what may go]. An outbox row may go once a tick has taken it: its transaction was over for the snapshot of the last
tick. (Not: is older than all that were open then. A transaction of any other database of the server would hold it, and
a stream without news takes no further tick that would let go.) A stream record may go once every consumer that is known
has applied it; without a consumer nothing goes. Both only when old enough. A leaf goes when all its rows may. Its check
and its truncation are one transaction: the leaf is locked against writers first (nobody writes an old leaf), then
strangle_consumer, so a consumer is either known before the check, and waited for, or comes after it, and is told that
its records are gone. A kill anywhere undoes the whole.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString

from migration_tools.conf import settings
from migration_tools.kernel import points
from migration_tools.messaging.rings import OUTBOX, RINGS, STREAM, Ring
from migration_tools.stores.postgres import Connection, connect, describe_failure, errors, sql, transaction

log = logging.getLogger(__name__)

RETENTION_EVERY_SECONDS = 30.0
LOCK_TIMEOUT_SECONDS = 0.1
DELETE_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One partition: about how many rows, how many bytes, and why it stays; `stays` is '' if it may be emptied."""

    table: str
    rows: int
    bytes: int
    stays: str


# Each asks indexes alone, a few pages of a leaf of any size: its streams one by one, and the last row of each.
_STREAMS: LiteralString = """
    WITH RECURSIVE s(stream) AS (
        (SELECT stream FROM {leaf} ORDER BY stream LIMIT 1)
      UNION ALL
        SELECT (SELECT l.stream FROM {leaf} l WHERE l.stream > s.stream ORDER BY l.stream LIMIT 1)
        FROM s WHERE s.stream IS NOT NULL)"""

_OUTBOX_STAYS: LiteralString = """{streams}
    SELECT CASE WHEN y.young THEN 'younger than retention'
                WHEN t.snapshot IS NULL THEN format('no relay has numbered stream %%s yet', s.stream)
                ELSE format('stream %%s has rows that no tick has taken; is its relay running?', s.stream) END
    FROM s
    CROSS JOIN (SELECT occurred_at >= clock_timestamp() - make_interval(secs => %(age)s) AS young
                FROM {leaf} ORDER BY seq DESC LIMIT 1) y
    LEFT JOIN LATERAL (SELECT snapshot FROM strangle_tick WHERE stream = s.stream
                       ORDER BY number DESC LIMIT 1) t ON true
    WHERE s.stream IS NOT NULL AND (y.young OR t.snapshot IS NULL OR EXISTS (
        SELECT FROM {leaf} WHERE stream = s.stream
          AND (xid >= pg_snapshot_xmax(t.snapshot) OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(t.snapshot))))))
    LIMIT 1"""

_STREAM_STAYS: LiteralString = """{streams}
    SELECT CASE WHEN l.young THEN 'younger than retention'
                WHEN c.position IS NULL THEN format('stream %%s has no consumer yet', s.stream)
                ELSE format('consumer %%s of stream %%s is at %%s', c.name, s.stream, c.position) END
    FROM s
    CROSS JOIN LATERAL (SELECT position AS last,
                               occurred_at >= clock_timestamp() - make_interval(secs => %(age)s) AS young
                        FROM {leaf} WHERE stream = s.stream ORDER BY position DESC LIMIT 1) l
    LEFT JOIN LATERAL (SELECT name, position FROM strangle_consumer WHERE stream = s.stream
                       ORDER BY position LIMIT 1) c ON true
    WHERE s.stream IS NOT NULL AND (l.young OR c.position IS NULL OR l.last > c.position) LIMIT 1"""

# Each looks at a portion from the front and no further, so that rows which stay are not read again and again.
_DELETE_OUTBOX: LiteralString = """
    WITH last AS (SELECT snapshot FROM strangle_tick WHERE stream = %(stream)s ORDER BY number DESC LIMIT 1)
    DELETE FROM {leaf} WHERE seq IN (
        SELECT seq FROM (
            SELECT seq, occurred_at FROM {leaf} WHERE stream = %(stream)s
              AND xid < (SELECT pg_snapshot_xmax(snapshot) FROM last)
              AND pg_visible_in_snapshot(xid, (SELECT snapshot FROM last)) ORDER BY xid LIMIT %(rows)s) front
        WHERE occurred_at < clock_timestamp() - make_interval(secs => %(age)s))"""

_DELETE_STREAM: LiteralString = """
    DELETE FROM {leaf} WHERE stream = %(stream)s AND position IN (
        SELECT position FROM (
            SELECT position, occurred_at FROM {leaf} WHERE stream = %(stream)s
              AND position <= (SELECT min(position) FROM strangle_consumer WHERE stream = %(stream)s)
            ORDER BY position LIMIT %(rows)s) front
        WHERE occurred_at < clock_timestamp() - make_interval(secs => %(age)s))"""

# The last tick is where numbering goes on; the others are only needed while their records are.
_DELETE_TICKS: LiteralString = """
    DELETE FROM {leaf} WHERE stream = %(stream)s AND number IN (
        SELECT number FROM (
            SELECT number, at FROM {leaf} WHERE stream = %(stream)s
              AND number < (SELECT max(number) FROM {leaf} WHERE stream = %(stream)s)
            ORDER BY number LIMIT %(rows)s) t
        WHERE at < clock_timestamp() - make_interval(secs => %(age)s)
          AND NOT EXISTS (SELECT FROM strangle_stream s WHERE s.stream = %(stream)s AND s.tick = t.number))"""


class Retention:
    """Tends one stream's share of the tables on a thread of its own, so that no tick waits for it."""

    def __init__(self, stream: str, *, alias: str):
        self.stream = stream
        self.alias = alias

    @contextmanager
    def running(self) -> Iterator[None]:
        """Tend during the block."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,), name=f"retention {self.stream}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(RETENTION_EVERY_SECONDS):
            try:
                with connect(self.alias, f"retention {self.stream}") as conn:
                    drop_old(conn, self.stream)
            except Exception as error:
                log.warning(
                    "retention of %s: %s; trying again",
                    self.stream,
                    describe_failure(error),
                    extra={"context": self.stream},
                )


def drop_old(conn: Connection, stream: str) -> None:
    """Empty the leaves that may go, then delete what a ring is too small, too large or too old for."""
    for leaf in survey(conn):
        if not leaf.stays:
            empty(conn, leaf.table)
    for ring, statement in ((OUTBOX, _DELETE_OUTBOX), (STREAM, _DELETE_STREAM)):
        age = _retention(ring)
        if ring.suits(age):
            # Rows that share a leaf with another stream's, whose consumer stands still.
            age += 2 * ring.width_seconds
        for table in ring.names:
            _delete(conn, statement, table, stream, age)
    _delete(conn, _DELETE_TICKS, "strangle_tick", stream, _retention(STREAM))


def survey(conn: Connection) -> list[Leaf]:
    """Every leaf that holds rows, and why it stays; locks nothing."""
    found = []
    for ring in RINGS:
        busy = ring.current(time.time())
        for table in ring.names:
            row = conn.execute(
                "SELECT pg_total_relation_size(oid), reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)",
                [table],
            ).fetchone()
            if row is None or not _holds_rows(conn, table):
                continue
            stays = "is written now" if table == busy else _stays(conn, ring, table)
            found.append(Leaf(table=table, rows=max(row[1], 0), bytes=row[0], stays=stays))
    return found


def empty(conn: Connection, table: str) -> bool:
    """Truncate a leaf if it still may be; False when somebody uses it, which is tried again later.

    See Note [what may go].
    """
    ring = next(ring for ring in RINGS if table in ring.names)
    leaf = sql.Identifier(table)
    try:
        with transaction(conn, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS):
            conn.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(leaf))
            conn.execute("LOCK TABLE strangle_consumer IN SHARE MODE")
            points.reached("retention.locked")
            if table == ring.current(_now(conn)) or _stays(conn, ring, table):
                return False
            conn.execute(sql.SQL("TRUNCATE ONLY {}").format(leaf))
            points.reached("retention.truncated")
    except (errors.LockNotAvailable, errors.DeadlockDetected):
        return False
    log.info("%s is emptied", table)
    return True


def _stays(conn: Connection, ring: Ring, table: str) -> str:
    query = _OUTBOX_STAYS if ring is OUTBOX else _STREAM_STAYS
    leaf = sql.Identifier(table)
    composed = sql.SQL(query).format(streams=sql.SQL(_STREAMS).format(leaf=leaf), leaf=leaf)
    row = conn.execute(composed, {"age": _retention(ring)}).fetchone()
    return str(row[0]) if row else ""


def _holds_rows(conn: Connection, table: str) -> bool:
    return conn.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(table))).fetchone() is not None


def _now(conn: Connection) -> float:
    row = conn.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    return float(row[0]) if row else time.time()


def _retention(ring: Ring) -> float:
    return settings().OUTBOX_RETENTION_SECONDS if ring is OUTBOX else settings().STREAM_RETENTION_SECONDS


def _delete(conn: Connection, statement: LiteralString, table: str, stream: str, age: float) -> None:
    if conn.execute("SELECT to_regclass(%s)", [table]).fetchone() == (None,):
        # The schema migration that makes the rings is still to come here.
        return
    query = sql.SQL(statement).format(leaf=sql.Identifier(table))
    while conn.execute(query, {"stream": stream, "age": age, "rows": DELETE_ROWS}).rowcount == DELETE_ROWS:
        points.reached("retention.deleted")
