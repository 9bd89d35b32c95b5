"""Read touched keys from the log by the rule of ticks: what this snapshot sees and the last one did not.

Note [ticks of the log]. A tick has to hold exactly the transactions that its snapshot sees and the snapshot before did
not, or a consumer at the tick would not hold the source as of that snapshot. The log has another order: a commit is in
it *before* other sessions see it, and with synchronous_commit off they see it before it can be decoded. So, inside the
tick's transaction and after its snapshot was taken: flush the log, which brings everything visible into reach of the
decoder; peek at all of it; take each transaction that the snapshot sees, and the previous tick's did not; leave the
others in the slot. Their rows are then read in this very snapshot as with triggers, so it does not matter what values
the log carries, or leaves out because they are large and did not change.

Peeking takes nothing. The tick commits how far everything is taken (strangle_log_source.confirmed), and the *next* one
advances the slot to there. So a reader killed anywhere repeats its peek, and the snapshot of the last committed tick
tells what was in it: no transaction is taken twice, and none is forgotten by the server before it is numbered.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from migration_tools.capture.applying import MARK
from migration_tools.errors import CaptureDrift, LogLost
from migration_tools.kernel import points
from migration_tools.kernel.snapshots import Snapshot, news_since
from migration_tools.messaging.ticks import Touch
from migration_tools.stores.postgres import Connection, describe_failure, errors, slots, sql
from migration_tools.stores.postgres.pgoutput import (
    Begin,
    Change,
    ChangeKind,
    Commit,
    Entry,
    LogMessage,
    Row,
    Truncation,
    Unchanged,
)

# How much log may be behind the last tick that had news before its place is written down all the same.
IDLE_BYTES = 1 << 20
# How much log before its place a peek may have to read again before the server is asked for a nearer beginning.
REREAD_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class LoggedSource:
    """A row of strangle_log_source."""

    stream: str
    slot: str
    publication: str
    token: str
    tables: dict[str, dict[str, Any]]
    confirmed: int


def read_source(conn: Connection, stream: str) -> LoggedSource | None:
    """How the stream is read from the log of this database; None when triggers capture it."""
    row = conn.execute(
        "SELECT slot, publication, token, tables::text, confirmed FROM strangle_log_source WHERE stream = %s", [stream]
    ).fetchone()
    if row is None:
        return None
    return LoggedSource(
        stream=stream, slot=row[0], publication=row[1], token=row[2], tables=json.loads(row[3]), confirmed=row[4]
    )


@dataclass(kw_only=True)
class _Taken:
    """What one transaction touched of one table under one mark."""

    echo: bool
    keys: set[tuple[str, ...]] = field(default_factory=set)
    reported: set[tuple[str | None, ...]] = field(default_factory=set)


class LogReader:
    """Reads the log for ticks; remembers only where it found nothing, so that an idle database is not decoded."""

    def __init__(self) -> None:
        self._quiet: dict[str, int] = {}
        self._sources: set[str] = set()

    def has_source(self, stream: str) -> bool:
        """Whether the last reading found that the stream is captured from the log."""
        return stream in self._sources

    def read(self, conn: Connection, stream: str, previous: str | None) -> list[Touch]:
        """The touches of a tick; call inside its REPEATABLE READ transaction. See Note [ticks of the log].

        Raises:
            LogLost: the slot is gone, was invalidated, or somebody else has taken from it.
            CaptureDrift: a captured table was truncated, or a column that is reported is not in the log.
        """
        source = read_source(conn, stream)
        (self._sources.discard if source is None else self._sources.add)(stream)
        if source is None or self._quiet.get(stream) == slots.log_end(conn):
            return []
        row = conn.execute("SELECT pg_current_snapshot()::text").fetchone()
        snapshot = Snapshot.parse(str(row[0]) if row else "")
        before = Snapshot.parse(previous) if previous else None
        self._catch_up(conn, source)
        end = slots.flush_log(conn)
        points.reached("log.flushed")
        touches, pending = _take(_decoded(conn, source, end), source, snapshot, before)
        points.reached("log.read")
        upto = end if pending is None else pending
        if touches or upto > source.confirmed + IDLE_BYTES:
            conn.execute("UPDATE strangle_log_source SET confirmed = %s WHERE stream = %s", [upto, stream])
        if not touches and pending is None:
            self._quiet[stream] = end
        return [_recast(conn, source, touch) for touch in touches]

    def _catch_up(self, conn: Connection, source: LoggedSource) -> None:
        slot = slots.read_slot(conn, source.slot)
        if slot is None or slot.lost:
            what = "is gone" if slot is None else "was invalidated, because it kept more than max_slot_wal_keep_size"
            raise LogLost(f"replication slot {source.slot!r} {what}; {lost_remedy(source.stream)}")
        if slot.confirmed > source.confirmed:
            raise LogLost(
                f"somebody else has read from replication slot {source.slot!r}, or made it anew; find out who (it is "
                f"{source.stream!r}'s alone); {lost_remedy(source.stream)}"
            )
        if slot.confirmed < source.confirmed:
            slots.advance_slot(conn, source.slot, source.confirmed)
            points.reached("log.advanced")
        if slot.reread > REREAD_BYTES:
            slots.note_transactions(conn)


def lost_remedy(stream: str) -> str:
    """What to do when writes are missing from the stream for good."""
    return (
        f"writes may be missing from the stream, which stands still. Run strangle_rollback {stream} down to "
        "monolith_only, then the moves again: that captures anew and copies everything"
    )


def _decoded(conn: Connection, source: LoggedSource, end: int) -> Iterator[Entry]:
    try:
        yield from slots.peek(conn, source.slot, source.publication, upto=end)
    except errors.InsufficientPrivilege as error:
        raise CaptureDrift(
            f"the log cannot be read: {describe_failure(error)}; give the role that runs the relay and the moves the "
            "attribute REPLICATION"
        ) from error


def _take(
    entries: Iterable[Entry], source: LoggedSource, snapshot: Snapshot, before: Snapshot | None
) -> tuple[list[Touch], int | None]:
    """(touches of the transactions that belong to this tick, where the first one begins that does not yet)."""
    touches: list[Touch] = []
    pending: int | None = None
    begin: Begin | None = None
    taken: dict[tuple[str, bool], _Taken] = {}
    mode, wanted = "", False
    for entry in entries:
        match entry:
            case Begin():
                begin, mode, taken = entry, "", {}
                xid = whole_xid(entry.xid, snapshot.xmax)
                wanted = snapshot.sees(xid) and news_since(xid, before)
                if not snapshot.sees(xid) and pending is None:
                    pending = entry.commit
            case LogMessage(prefix=prefix, content=content):
                token, _, said = content.decode(errors="replace").partition(":")
                if prefix == MARK and token == source.token:
                    mode = said
            case Truncation(tables=tables) if wanted:
                named = sorted({table.name for table in tables} & source.tables.keys())
                if named:
                    raise CaptureDrift(
                        f"{named} was truncated while {source.stream!r} is captured, past the trigger that refuses it; "
                        f"which rows there were is not in the log; {lost_remedy(source.stream)}"
                    )
            case Change(table=table) if wanted and table.name in source.tables:
                _touch(taken, entry, source.tables[table.name], mode)
            case Commit() if wanted and begin is not None:
                touches += _touches(taken, begin.committed)
            case _:
                pass
    return touches, pending


def whole_xid(xid: int, near: int) -> int:
    """The 64-bit transaction id that is nearest to `near` of those that end in these 32 bits."""
    distance = (xid - near) & 0xFFFF_FFFF
    return near + (distance if distance < 1 << 31 else distance - (1 << 32))


def _touch(taken: dict[tuple[str, bool], _Taken], change: Change, table: dict[str, Any], mode: str) -> None:
    """Note the keys before and after a change, and the reported columns if a watched one changed."""
    echo = mode == "row"
    if mode and not (echo and table["echoes"]):
        return
    new = _named(change, change.new)
    old = _named(change, change.old)
    place = taken.setdefault((change.table.name, echo), _Taken(echo=echo))
    for row in (old, new):
        if row is not None and table["is_base"]:
            place.keys.add(tuple(str(v) for v in _values(change, row, old, table["key"])))
    if echo or not table["reported"]:
        return
    names = (*table["watched"], *table["reported"])
    # Without the whole old row nobody knows what changed, and one touch too many only costs a reading.
    known = change.kind is ChangeKind.UPDATE and change.table.whole
    if known and old and new and not any(_differs(old.get(name), new.get(name)) for name in names):
        return
    for row in (old, new):
        if row is not None:
            place.reported.add(tuple(_values(change, row, old, table["reported"])))


def _differs(old: Any, new: Any) -> bool:
    return not isinstance(new, Unchanged) and old != new


def _named(change: Change, row: Row | None) -> dict[str, Any] | None:
    return None if row is None else dict(zip(change.table.columns, row, strict=True))


def _values(change: Change, row: dict[str, Any], old: dict[str, Any] | None, names: Iterable[str]) -> list[str | None]:
    found: list[str | None] = []
    for name in names:
        value = row.get(name, UNKNOWN)
        if isinstance(value, Unchanged) and old is not None:
            value = old.get(name, UNKNOWN)
        if value is UNKNOWN or isinstance(value, Unchanged):
            raise CaptureDrift(
                f"column {name!r} of {change.table.name!r} is not in the log; if it was renamed, correct the playbook "
                f"and run strangle_doctor --mend; else ALTER TABLE {change.table.name} REPLICA IDENTITY FULL"
            )
        found.append(value)
    return found


UNKNOWN = object()


def _touches(taken: dict[tuple[str, bool], _Taken], committed: float) -> Iterator[Touch]:
    for (table, echo), part in taken.items():
        keys: dict[str, Any] = {}
        if part.keys:
            keys["b"] = [list(key) for key in sorted(part.keys)]
        if part.reported:
            keys["d"] = [list(each) for each in part.reported]
        if keys:
            yield Touch(table=table, echo=echo, keys=keys, occurred=committed)


def _recast(conn: Connection, source: LoggedSource, touch: Touch) -> Touch:
    """Write values as a cast to text does, where the log writes them otherwise: keys are compared as text."""
    table = source.tables[touch.table]
    for part, names in (("b", table["key"]), ("d", table["reported"])):
        for place, name in enumerate(names):
            kind = table["recast"].get(name)
            values = sorted({key[place] for key in touch.keys.get(part, ()) if key[place] is not None})
            if kind is None or not values:
                continue
            known: dict[str, str] = dict(
                conn.execute(
                    sql.SQL("SELECT v, v::{}::text FROM unnest(%s::text[]) v").format(sql.SQL(kind)), [values]
                ).fetchall()
            )
            for key in touch.keys[part]:
                key[place] = known.get(key[place])
    return touch
