"""Read a stream by position: any range, again and again, the same answer each time."""

import datetime as dt
import json
import uuid
from collections.abc import Iterable
from typing import Any, Protocol

from migration_tools.errors import TransferError
from migration_tools.messaging.batch import Batch, RelationHead, RowRecord
from migration_tools.messaging.envelope import Envelope


class Cursor(Protocol):
    """What Django's cursors and psycopg's have in common."""

    def execute(self, query: Any, params: Any = ..., /) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> Any: ...


def head(cursor: Cursor, stream: str) -> int:
    """The stream's last position; 0 before the first tick."""
    cursor.execute("SELECT base + records FROM strangle_tick WHERE stream = %s ORDER BY number DESC LIMIT 1", [stream])
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def read_batch(
    cursor: Cursor,
    stream: str,
    *,
    origin: str,
    after: int,
    limit: int,
    upto: int | None = None,
    known: dict[int, RelationHead] | None = None,
    mark: str = "",
) -> Batch:
    """Read whole ticks after position `after`: about `limit` records, at least one tick, less at the end.

    With `upto`, the end of some tick, nothing behind that position. Heads of relations are added to `known` and not
    read again; keep it no longer than the cursor's session, since only there a number surely means the same.
    `mark` is what the reader knows of the record at `after`; see Note [marks].

    Raises:
        TransferError: `after` is ahead of the stream, or another record than the reader has applied, or so far behind
            that retention has dropped what follows.
    """
    end, identity = _end(cursor, stream)
    if upto is not None:
        end = min(end, upto)
    if after > end:
        raise TransferError(
            f"stream {stream!r} of {origin!r} ends at {end} but position {after} was asked for; "
            "was the owner's database restored from a backup? verify, then strangle_consume --from-head"
        )
    followed, _, moment = mark.rpartition("/")
    # Who follows another database's stream of the same name is told so by the identity.
    if moment and followed == identity and not _is_marked(cursor, stream, after, int(moment)):
        raise TransferError(
            f"record {after} of stream {stream!r} of {origin!r} is not the one that was applied; was the owner's "
            "database restored from a backup? verify, then strangle_consume --from-head"
        )
    if after == end or limit <= 0:
        return Batch(stream=stream, origin=origin, first=after, last=after, head=end, identity=identity)
    last = end if after + limit >= end else _end_of_tick(cursor, stream, after + limit) or end
    cursor.execute(
        """SELECT position, kind, relation, key, values, extract(epoch FROM occurred_at)::float8, event_id, event_type,
                  event_version, aggregate_type, aggregate_id, payload::text, correlation_id, causation_id,
                  metadata::text
           FROM strangle_stream WHERE stream = %s AND position > %s AND position <= %s ORDER BY position""",
        [stream, after, last],
    )
    found = cursor.fetchall()
    if len(found) != last - after:
        raise TransferError(
            f"stream {stream!r} of {origin!r} has {len(found)} of the {last - after} records after {after}; retention "
            f"dropped the rest (the oldest kept is {_oldest(cursor, stream)}): run strangle_verify --repair, then "
            "strangle_consume --from-head"
        )
    rows = [
        RowRecord(
            position=r[0],
            kind=r[1],
            relation=r[2],
            key=tuple(r[3]),
            values=tuple(r[4]) if r[4] is not None else None,
            occurred=r[5],
        )
        for r in found
        if r[1] != "e"
    ]
    events = [_envelope(stream, origin, r) for r in found if r[1] == "e"]
    wanted = {row.relation for row in rows}
    known = {} if known is None else known
    known |= read_heads(cursor, wanted - known.keys())
    heads = {number: known[number] for number in sorted(wanted & known.keys())}
    return Batch(
        stream=stream,
        origin=origin,
        first=after,
        last=last,
        head=end,
        identity=identity,
        relations=heads,
        rows=rows,
        events=events,
    )


def read_heads(cursor: Cursor, numbers: Iterable[int]) -> dict[int, RelationHead]:
    """Describe the relations with these numbers, as a consumer needs them."""
    wanted = sorted(numbers)
    if not wanted:
        return {}
    cursor.execute(
        "SELECT id, target_table, key_columns, columns, rank, owned, kind FROM strangle_relation WHERE id = ANY (%s)",
        [wanted],
    )
    return {
        int(row[0]): RelationHead(
            table=row[1],
            key=tuple(row[2]),
            columns=tuple(row[3]),
            rank=row[4],
            owned=row[5],
            patch=row[6] == "p",
        )
        for row in cursor.fetchall()
    }


def identify(cursor: Cursor, stream: str) -> None:
    """Draw the stream's identity if it has none; by whoever numbers it."""
    cursor.execute("INSERT INTO strangle_stream_identity (stream) VALUES (%s) ON CONFLICT DO NOTHING", [stream])


def note_receipt(cursor: Cursor, stream: str, consumer: str, position: int) -> None:
    """Remember how far a consumer says it is, for lag and retention."""
    cursor.execute(
        """INSERT INTO strangle_consumer (stream, name, position) VALUES (%s, %s, %s)
           ON CONFLICT (stream, name) DO UPDATE SET position = EXCLUDED.position, seen_at = clock_timestamp()""",
        [stream, consumer, position],
    )


def _end(cursor: Cursor, stream: str) -> tuple[int, str]:
    """(the stream's last position, its identity)."""
    cursor.execute(
        """SELECT t.base + t.records, i.identity::text FROM strangle_tick t
           LEFT JOIN strangle_stream_identity i USING (stream) WHERE t.stream = %s ORDER BY t.number DESC LIMIT 1""",
        [stream],
    )
    row = cursor.fetchone()
    return (int(row[0]), row[1] or "") if row else (0, "")


def _is_marked(cursor: Cursor, stream: str, position: int, moment: int) -> bool:
    """Whether the record at a position may be the one a reader knows: a microsecond apart, or dropped by retention."""
    cursor.execute(
        """SELECT abs((extract(epoch FROM occurred_at) * 1000000)::bigint - %s) <= 1 FROM strangle_stream
           WHERE stream = %s AND position = %s""",
        [moment, stream, position],
    )
    row = cursor.fetchone()
    return row is None or bool(row[0])


def _end_of_tick(cursor: Cursor, stream: str, position: int) -> int | None:
    """The last position of the tick that a position is in."""
    cursor.execute(
        """SELECT t.base + t.records FROM strangle_stream s
           JOIN strangle_tick t ON t.stream = s.stream AND t.number = s.tick
           WHERE s.stream = %s AND s.position = %s""",
        [stream, position],
    )
    row = cursor.fetchone()
    return int(row[0]) if row else None


def _oldest(cursor: Cursor, stream: str) -> int | None:
    cursor.execute("SELECT min(position) FROM strangle_stream WHERE stream = %s", [stream])
    row = cursor.fetchone()
    return row[0] if row else None


def _envelope(stream: str, origin: str, row: Any) -> Envelope:
    return Envelope(
        position=row[0],
        stream=stream,
        origin=origin,
        timestamp=dt.datetime.fromtimestamp(row[5], dt.UTC),
        event_id=row[6] if isinstance(row[6], uuid.UUID) else uuid.UUID(str(row[6])),
        event_type=row[7],
        event_version=row[8],
        aggregate_type=row[9],
        aggregate_id=row[10],
        payload=json.loads(row[11]),
        correlation_id=row[12],
        causation_id=row[13],
        metadata=json.loads(row[14]) if row[14] else {},
    )
