"""What the owner's database knows of the other side: which tick it has applied, and whether that covers a write."""

from dataclasses import dataclass
from typing import Any

from migration_tools.kernel.snapshots import Snapshot, covers
from migration_tools.messaging.lag import REPLICA_PREFIX
from migration_tools.messaging.stream import Cursor

# Sees no transaction: what a stream without a tick has numbered.
NOTHING = "1:1:"
# A follower further behind than so many ticks is not looked for: its readers stay with the owner.
TICKS_LOOKED_AT = 1000

# A consumer asks for what follows its position once all of it is committed: the asked position is its receipt. Every
# consumer of the stream counts, the slowest decides.
_KNOWN = """
    WITH last AS (SELECT number, snapshot FROM strangle_tick WHERE stream = %(stream)s ORDER BY number DESC LIMIT 1),
    receipt AS (SELECT min(position) AS at FROM strangle_consumer
                WHERE stream = %(stream)s AND NOT starts_with(name, %(replicas)s)),
    applied AS (SELECT t.number, t.snapshot FROM strangle_tick t, receipt
                WHERE t.stream = %(stream)s AND t.number > (SELECT number FROM last) - %(ticks)s
                  AND t.base + t.records <= receipt.at ORDER BY t.number DESC LIMIT 1)
    SELECT (SELECT number FROM last), (SELECT snapshot::text FROM last),
           (SELECT number FROM applied), (SELECT snapshot::text FROM applied),
           (SELECT side = owner FROM strangle_ownership WHERE context = %(stream)s)"""

# See messaging.ticks, Note [news by index].
_WAITING = """
    SELECT EXISTS (SELECT FROM strangle_outbox WHERE stream = %(stream)s
          AND xid >= pg_snapshot_xmax(%(last)s::pg_snapshot) AND pg_visible_in_snapshot(xid, %(seen)s::pg_snapshot))
      OR EXISTS (SELECT FROM strangle_outbox WHERE stream = %(stream)s
          AND xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(last)s::pg_snapshot)))
          AND pg_visible_in_snapshot(xid, %(seen)s::pg_snapshot))"""


@dataclass(frozen=True, kw_only=True)
class Known:
    """The stream's last tick, the last one applied by all, whether there is capture, and whose the context is."""

    stream: str
    last: int | None
    last_snapshot: str
    applied: int | None
    applied_snapshot: str
    captured: bool
    owned: bool


def known(cursor: Cursor, stream: str) -> Known:
    """Read it, in one query; a side without a fence owns what it has."""
    cursor.execute(_KNOWN, {"stream": stream, "replicas": REPLICA_PREFIX, "ticks": TICKS_LOOKED_AT})
    last, snapshot, applied, applied_snapshot, owned = cursor.fetchone()
    return Known(
        stream=stream,
        last=last,
        last_snapshot=snapshot or NOTHING,
        applied=applied,
        applied_snapshot=applied_snapshot or NOTHING,
        captured=owned is not None,
        owned=owned is not False,
    )


def is_applied(cursor: Cursor, known: Known, seen: Snapshot) -> bool:
    """Whether the other side has everything that was committed in `seen`.

    Either the tick it has applied was taken later than `seen`; or it has applied the last tick, and no outbox row of
    `seen` waits for the next one. The second is what becomes true when nobody writes any more. No row that it asks
    for can have been dropped: retention drops what the last tick sees.
    """
    if known.applied is not None and covers(Snapshot.parse(known.applied_snapshot), seen):
        return True
    if known.applied != known.last:
        return False
    cursor.execute(_WAITING, {"stream": known.stream, "last": known.last_snapshot, "seen": _text(seen)})
    (waits,) = cursor.fetchone()
    return not waits


def committed(cursor: Cursor) -> tuple[Snapshot, int | None]:
    """What is committed now, and this connection's own transaction if one that wrote is open."""
    cursor.execute("SELECT pg_current_snapshot()::text, pg_current_xact_id_if_assigned()::text")
    row: Any = cursor.fetchone()
    return Snapshot.parse(row[0]), int(row[1]) if row[1] else None


def _text(snapshot: Snapshot) -> str:
    return f"{snapshot.xmin}:{snapshot.xmax}:{','.join(str(xid) for xid in sorted(snapshot.xip))}"
