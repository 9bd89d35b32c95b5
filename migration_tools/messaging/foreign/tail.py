"""Follow a database's log and hand its changes out as Debezium's events, at least once, in the order of commits."""

import time
from collections.abc import Callable, Sequence

from migration_tools.errors import CaptureDrift, LogLost
from migration_tools.kernel import points
from migration_tools.messaging.foreign.envelopes import Message, Origin, write_change
from migration_tools.stores.postgres import Connection, describe_failure, errors, slots, transaction
from migration_tools.stores.postgres.catalog import read_table
from migration_tools.stores.postgres.pgoutput import Begin, Change, Commit, Truncation

SLOT_SECONDS = 30.0
Sink = Callable[[Sequence[Message]], None]


class LogTail:
    """A slot of its own over some tables; values come from the log, so nothing is read again and nothing races.

    What the sink was given is acknowledged after it returned, whole transactions at a time: a crash between repeats
    them, and whoever reads can tell by `source.lsn`.
    """

    def __init__(self, name: str, *, prefix: str):
        self.name = name
        self.prefix = prefix
        self._keys: dict[str, tuple[str, ...]] = {}

    def create(self, conn: Connection, tables: Sequence[str]) -> int:
        """Publish the tables and make the slot; changes of transactions that commit later will be handed out.

        Raises:
            CaptureDrift: the server does not write its log for decoding, or a table's updates would fail.
        """
        mistakes = []
        if slots.log_level(conn) != "logical":
            mistakes.append("wal_level must be 'logical'; set it and restart the server")
        for table in tables:
            known = slots.identities(conn, table.split(".")[-1])
            mistakes += [
                f"{part!r} has no replica identity, so its updates would fail; give it a primary key or ALTER TABLE "
                f"{part} REPLICA IDENTITY FULL"
                for part, columns in known.items()
                if not columns
            ]
        if mistakes:
            raise CaptureDrift("; ".join(mistakes))
        slot = slots.slot_name(conn, f"changes_{self.name}")
        try:
            slots.make_publication(conn, slot, [t if "." in t else f"public.{t}" for t in tables])
            return slots.create_slot(conn, slot, timeout_seconds=SLOT_SECONDS)
        except (errors.InsufficientPrivilege, errors.DuplicateObject, errors.UndefinedTable) as error:
            raise CaptureDrift(f"changes {self.name!r} cannot be followed: {describe_failure(error)}") from error

    def drop(self, conn: Connection) -> None:
        """Give slot and publication back; safe to repeat."""
        slot = slots.slot_name(conn, f"changes_{self.name}")
        slots.drop_slot(conn, slot)
        slots.drop_publication(conn, slot)

    def step(self, conn: Connection, sink: Sink) -> int:
        """Hand out what is complete by now, then let the server forget it; returns how many messages.

        Raises:
            LogLost: the slot is not there, or a part of what it kept is gone.
        """
        slot = slots.slot_name(conn, f"changes_{self.name}")
        state = slots.read_slot(conn, slot)
        if state is None or state.lost:
            raise LogLost(
                f"slot {slot!r} is {'lost' if state else 'not there'}: changes are missing; make it with "
                f"strangle_changes {self.name} --create --table …, and let whoever reads take a snapshot"
            )
        end = slots.flush_log(conn)
        handed = 0
        with transaction(conn):
            row = conn.execute("SELECT current_database()").fetchone()
            database, begin, last = str(row[0]) if row else "", None, None
            batch: list[Message] = []
            for entry in slots.peek(conn, slot, slot, upto=end):
                match entry:
                    case Begin():
                        begin = entry
                    case Change() if begin is not None:
                        origin = Origin(
                            key=self._key(conn, entry.table.name),
                            database=database,
                            prefix=self.prefix,
                            xid=begin.xid,
                            committed=begin.committed,
                            last_commit=last,
                            now=time.time(),
                        )
                        batch += write_change(entry, origin)
                    case Truncation(tables=tables):
                        named = sorted(table.name for table in tables)
                        raise CaptureDrift(f"{named} was truncated; drop and create the changes {self.name!r} anew")
                    case Commit(end=last_end):
                        last = last_end
                        if batch:
                            sink(batch)
                            handed += len(batch)
                            batch = []
                    case _:
                        pass
        points.reached("tail.handed_out")
        if end > state.confirmed:
            slots.advance_slot(conn, slot, end)
        return handed

    def _key(self, conn: Connection, table: str) -> tuple[str, ...]:
        if table not in self._keys:
            shape = read_table(conn, table)
            self._keys[table] = shape.key if shape else ()
        return self._keys[table]
