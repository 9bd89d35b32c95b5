"""Number the outbox: each tick turns what became visible since the last one into dense stream positions.

Note [commit order of outbox rows]. Ids of an outbox become visible out of order, so a cursor on them loses rows.
A tick is read in one REPEATABLE READ transaction; it is *the set of outbox rows visible in its snapshot and not in the
snapshot of the tick before*, by index: xid >= xmax(previous) or xid in xip(previous). The idea is PgQ's. Each
committed row is in exactly one tick, whatever the order of commits; rows of one key keep their order because `seq` is
drawn under the row lock. The relay materialises the tick's records in the same transaction: domain events as they are,
touched rows *as they are in this very snapshot*. So a consumer that has applied tick T holds exactly the mapped source
at T; copy and verification stand on that. A crash before the commit leaves no trace; a second relay violates the
primary key of strangle_tick and loses nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from migration_tools.errors import HistoryBroken
from migration_tools.kernel import points
from migration_tools.kernel.positions import follow
from migration_tools.messaging.models import OutboxKind
from migration_tools.messaging.stream import identify

if TYPE_CHECKING:
    from migration_tools.stores.postgres import Connection

CHANNEL = "strangle_stream"


@dataclass(frozen=True, kw_only=True, slots=True)
class Touch:
    """One captured statement: which keys of which table it touched (see capture.triggers for `keys`)."""

    table: str
    echo: bool
    keys: dict[str, Any]
    occurred: float


class Projector(Protocol):
    """Knows what touched keys mean. See capture.projector."""

    def awaits(self, stream: str) -> bool:
        """Whether the stream's news may be where the outbox does not show it; as of the last `logged`."""
        ...

    def logged(self, conn: "Connection", *, stream: str, previous: str | None) -> list[Touch]:
        """What the log says was touched by transactions that the tick's snapshot sees and the one before did not."""
        ...

    def project(self, conn: "Connection", *, stream: str, tick: int, base: int, touches: Sequence[Touch]) -> int:
        """Write the row records of a tick, numbered from `base` + 1; returns how many."""
        ...


@dataclass(frozen=True, kw_only=True)
class TickResult:
    """The stream's end after a tick: its number, last position and how many records it added."""

    number: int
    head: int
    records: int


_PREVIOUS = """SELECT number, snapshot::text, base, records,
                      pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(pg_current_snapshot())
               FROM strangle_tick
               WHERE stream = %s ORDER BY number DESC LIMIT 1"""

_ROWS = """SELECT seq, kind, table_name, touched::text, extract(epoch FROM occurred_at)::float8 FROM strangle_outbox
           WHERE stream = %(stream)s"""

_TAKEN = f"{_ROWS} ORDER BY seq"

# Note [news by index]. Written as one condition, "from xmax on, or one that ran then" is none that an index serves:
# every look would read what retention keeps, and a tick cost as much as the outbox is long. In two parts each is a
# range of (stream, xid), and no row is in both. The second is asked for each that ran, mostly none.
TAKEN_SINCE = f"""{_ROWS} AND xid >= pg_snapshot_xmax(%(last)s::pg_snapshot)
                  UNION ALL
                  SELECT o.* FROM pg_snapshot_xip(%(last)s::pg_snapshot) AS ran(xid)
                  CROSS JOIN LATERAL ({_ROWS} AND strangle_outbox.xid = ran.xid OFFSET 0) o
                  ORDER BY seq"""  # noqa: S608  (constants of this file)

# The rule of TAKEN_SINCE, as a question. The order makes the planner take the index, and look at one row, where it
# knows nothing of the outbox or of the snapshot.
_NEWS = """WITH previous AS (SELECT snapshot FROM strangle_tick WHERE stream = %(stream)s ORDER BY number DESC LIMIT 1)
           SELECT NOT EXISTS (SELECT FROM previous)
             OR EXISTS (SELECT FROM previous WHERE pg_snapshot_xmax(snapshot) > pg_snapshot_xmax(pg_current_snapshot()))
             OR (SELECT xid FROM strangle_outbox WHERE stream = %(stream)s
                   AND xid >= (SELECT pg_snapshot_xmax(snapshot) FROM previous) ORDER BY xid LIMIT 1) IS NOT NULL
             OR EXISTS (SELECT FROM previous, pg_snapshot_xip(snapshot) AS ran(xid)
                   CROSS JOIN LATERAL (SELECT FROM strangle_outbox o WHERE o.stream = %(stream)s AND o.xid = ran.xid
                                       LIMIT 1) o)"""

_EVENTS = """INSERT INTO strangle_stream (stream, position, tick, kind, event_id, event_type, event_version,
                 aggregate_type, aggregate_id, payload, correlation_id, causation_id, metadata, occurred_at)
             SELECT stream, %s + row_number() OVER (ORDER BY seq), %s, 'e', event_id, event_type, event_version,
                 aggregate_type, aggregate_id, payload, correlation_id, causation_id, metadata, occurred_at
             FROM strangle_outbox WHERE seq = ANY (%s)"""


def has_news(conn: "Connection", stream: str) -> bool:
    """Whether the outbox holds what no tick has taken: one statement, where a tick that finds nothing is seven."""
    row = conn.execute(_NEWS, {"stream": stream}).fetchone()
    return bool(row and row[0])


def append_tick(conn: "Connection", stream: str, projector: Projector) -> TickResult:
    """Append one tick; call inside a REPEATABLE READ transaction that began after LockClass.TICK was held.

    Without news no tick is written: then this snapshot stands at the stream's present end.

    Raises:
        HistoryBroken: see Note [another history]; nothing was written.
    """
    previous = conn.execute(_PREVIOUS, [stream]).fetchone()
    if previous and previous[4]:
        raise HistoryBroken(stream)
    tick, head = follow((previous[0], previous[2], previous[3]) if previous else None)
    if not previous:
        identify(conn.cursor(), stream)
    if previous:
        taken = conn.execute(TAKEN_SINCE, {"stream": stream, "last": previous[1]}).fetchall()
    else:
        taken = conn.execute(_TAKEN, {"stream": stream}).fetchall()
    logged = projector.logged(conn, stream=stream, previous=previous[1] if previous else None)
    if not taken and not logged:
        return TickResult(number=tick - 1, head=head, records=0)
    touches = logged + [
        Touch(table=row[2], echo=row[1] == OutboxKind.ECHO, keys=json.loads(row[3], parse_float=str), occurred=row[4])
        for row in taken
        if row[1] != OutboxKind.EVENT
    ]
    added = projector.project(conn, stream=stream, tick=tick, base=head, touches=touches) if touches else 0
    events = [row[0] for row in taken if row[1] == OutboxKind.EVENT]
    if events:
        conn.execute(_EVENTS, [head + added, tick, events])
    records = added + len(events)
    points.reached("tick.before_row")
    conn.execute(
        """INSERT INTO strangle_tick (stream, number, snapshot, base, records)
           VALUES (%s, %s, pg_current_snapshot(), %s, %s)
           RETURNING CASE WHEN records > 0 THEN pg_notify(%s, stream)::text END""",
        [stream, tick, head, records, CHANNEL],
    )
    points.reached("tick.before_commit")
    return TickResult(number=tick, head=head + records, records=records)
