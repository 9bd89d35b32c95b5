"""Build a read model anew beside the live one, and put it in its place in one transaction.

Note [no event between two slots]. A rebuild is a consumer: it has an inbox of its own for each stream and fills the
tables of a new slot, from the beginning of the streams or from where their state was published. Events of the live
consumers reach only the live slot. To swap, it takes the lock of [one writer a group], so that no live event is under
way, and reads up to where the live inboxes are, or lets go and reads outside if that is far. Then the views change
their tables in the same transaction in which the live slot changes its number. An event before the lock is in both
slots, one after it goes to the new one. That the new slot may have read further than the live inbox does no harm: what
the live consumer brings again changes nothing.

All that it did is in the database, so it goes on from there after a `kill -9`, whenever it is run again.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from django.db import transaction

from migration_tools.conf import settings
from migration_tools.errors import Interrupted, StrangleError, TransferError
from migration_tools.kernel import points
from migration_tools.kernel.watch import ShowProgress, silently
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.consumer import Consumer, Feed
from migration_tools.messaging.dead_letters import count
from migration_tools.messaging.groups import inbox_name
from migration_tools.messaging.handlers import handles
from migration_tools.messaging.inbox import apply_inside, identity, move_to, positions
from migration_tools.projections import layout, slots
from migration_tools.projections.applying import hold
from migration_tools.projections.declaration import ReadModel
from migration_tools.projections.elsewhere import opened
from migration_tools.projections.registry import handler
from migration_tools.projections.slots import BUILDING, LEFT, LIVE, Slot
from migration_tools.projections.state_events import COMPLETED, handle_completed
from migration_tools.stores.postgres import Connection, django_connection

# Up to so many records behind the live inbox, they are read under the lock.
NEAR = 200
SWAPS_AT_MOST = 20


class PeekingFeed(Feed, Protocol):
    """A feed that can be asked whether it serves a position, without a receipt."""

    def peek(self, after: int) -> Batch:
        """See HttpFeed."""
        ...


OpenFeed = Callable[[str, str], PeekingFeed]
Say = Callable[[str], None]


@dataclass
class Rebuilt:
    """What a rebuild did, for its report: the slot that is live now, and how many events each stream gave."""

    slot: int
    resumed: bool
    events: dict[str, int] = field(default_factory=dict)


class Rebuild:
    """One rebuild of one read model; the caller holds LockClass.REBUILD of its name."""

    def __init__(
        self,
        model: ReadModel,
        open_feed: OpenFeed,
        *,
        after: Mapping[str, int] | None = None,
        progress: ShowProgress = silently,
    ):
        unknown = sorted(set(after or {}) - set(model.streams()))
        if unknown:
            raise StrangleError(f"read model {model.name!r} does not read {unknown}; it reads {model.streams()}")
        self.model = model
        self.alias = settings().DATABASE
        self.after = dict(after or {})
        self._open = open_feed
        self._progress = progress
        self._feeds: dict[str, PeekingFeed] = {}

    def run(self, stop: threading.Event, say: Say) -> Rebuilt:
        """Build, catch up, swap and clear away.

        Raises:
            StrangleError: a stream cannot be read from where it should begin, or an event cannot be handled; the live
                slot is as it was.
            Interrupted: `stop` was set; run it again to go on.
        """
        slot, resumed = self._begin(say)
        result = Rebuilt(slot=slot.number, resumed=resumed)
        self._register(slot)
        for stream in self.model.streams():
            result.events[stream] = self._read(slot, stream, stop)
        for _ in range(SWAPS_AT_MOST):
            if self._swap(slot):
                break
            for stream in self.model.streams():
                result.events[stream] += self._read(slot, stream, stop)
        else:
            raise StrangleError(f"the live consumers were ahead {SWAPS_AT_MOST} times; run the same command again")
        points.reached("rebuild.swapped")
        self._clear(slot)
        return result

    def plan(self) -> list[str]:
        """What `run` would do, in sentences; reads only."""
        conn = django_connection(self.alias)
        unfinished, now = slots.building(conn, self.model.name), slots.live(conn, self.model.name)
        fitting = unfinished is not None and unfinished.fingerprint == self.model.fingerprint()
        lines = []
        if unfinished is not None and fitting:
            lines.append(f"go on with slot {unfinished.number}, which was begun before")
        elif unfinished is not None:
            lines.append(f"drop slot {unfinished.number}, which was begun for another declaration")
        if not fitting:
            lines.append(f"make the tables {[table.name for table in self.model.tables]} of a new slot")
        for stream in self.model.streams():
            at, end = self._at(conn, unfinished if fitting else None, stream), self._feed(stream, "").peek(0).head
            lines.append(f"read {max(end - at, 0)} records of stream {stream!r}, after position {at}")
        shown = [table.name for table in self.model.tables if not table.private]
        lines.append(f"point {shown} to them, in one transaction")
        if now is not None:
            lines.append(f"drop the tables of slot {now.number}")
        return lines

    def discard(self) -> bool:
        """Drop what was built so far; False when nothing was."""
        with transaction.atomic(using=self.alias):
            conn = django_connection(self.alias)
            slot = slots.building(conn, self.model.name)
            if slot is not None:
                self._forget(conn, slot)
        return slot is not None

    def _begin(self, say: Say) -> tuple[Slot, bool]:
        conn = django_connection(self.alias)
        slot = slots.building(conn, self.model.name)
        if (
            slot is not None
            and slot.fingerprint == self.model.fingerprint()
            and {**slot.after, **self.after} == slot.after
        ):
            say(f"going on with slot {slot.number}")
            return slot, True
        after = {stream: self.after.get(stream, 0) for stream in self.model.streams()}
        found = {stream: self._served(stream, at) for stream, at in after.items()}
        with transaction.atomic(using=self.alias):
            conn = django_connection(self.alias)
            if slot is not None:
                say(f"dropping slot {slot.number}, which was begun for another declaration or position")
                self._forget(conn, slot)
            number = max((each.number for each in slots.slots(conn, self.model.name)), default=0) + 1
            slot = layout.make(conn, self.model, number=number, state=BUILDING, after=after)
            for stream, at in after.items():
                inbox = inbox_name(stream, self._group(slot))
                move_to(conn, inbox, at, rows=False, identity=found[stream].identity)
            points.reached("rebuild.before_begun")
        return slot, False

    def _served(self, stream: str, after: int) -> Batch:
        try:
            return self._feed(stream, "").peek(after)
        except TransferError as error:
            raise TransferError(
                f"read model {self.model.name!r} cannot be built from position {after} of {stream!r}: {error}. Let the "
                f"stream's owner publish its state with strangle_state_events {stream}, then give the position that it "
                f"prints: --after {stream}=N. Nothing was changed"
            ) from error

    def _register(self, slot: Slot) -> None:
        for taken in self.model.taken():
            handles(taken.event_type, stream=taken.stream, versions=taken.versions, group=self._group(slot))(
                handler(self.model, taken, slot.number)
            )
        for stream in self.model.streams():
            handles(COMPLETED, stream=stream, group=self._group(slot))(handle_completed(self.model, slot.number))

    def _read(self, slot: Slot, stream: str, stop: threading.Event) -> int:
        """Apply what the stream has now; returns how many records went by."""
        group = self._group(slot)
        consumer = Consumer(stream, self._feed(stream, group), None, using=self.alias, group=group)
        before = at = positions(django_connection(self.alias), inbox_name(stream, group))[0]
        head = self._feed(stream, "").peek(at).head
        with self._progress(f"read {stream}", head, at) as bar:
            while True:
                if stop.is_set():
                    raise Interrupted(
                        f"interrupted; slot {slot.number} of {self.model.name!r} has read {stream!r} up to {at}. Run "
                        "the same command again to go on"
                    )
                now = consumer.step(0)
                points.reached("rebuild.batch")
                if now == at:
                    break
                bar.advance(now - at)
                at = now
        self._refuse_parked(django_connection(self.alias), stream, group)
        return at - before

    def _refuse_parked(self, conn: Connection, stream: str, group: str) -> None:
        parked = count(conn, inbox_name(stream, group))
        if parked:
            raise StrangleError(
                f"{parked} events of {stream!r} could not be handled by {self.model.name!r}; the live tables are as "
                f"they were. See strangle_dead_letters list {stream} --group {group}, mend the handler, raise its "
                "version and run strangle_rebuild again"
            )

    def _swap(self, slot: Slot) -> bool:
        """Put the slot in the live one's place; False when the live consumers are too far ahead."""
        with transaction.atomic(using=self.alias, durable=True):
            conn = django_connection(self.alias)
            hold(conn, self.model)
            self._refuse_incomplete(slots.slot_of(conn, self.model.name, slot.number))
            if not all(self._reach(conn, slot, stream) for stream in self.model.streams()):
                return False
            before = slots.live(conn, self.model.name)
            if before is not None:
                # No reader is held up by a DROP of what it still reads: that comes after this transaction.
                slots.note(conn, replace(before, state=LEFT))
            shown = replace(slots.slot_of(conn, self.model.name, slot.number), state=LIVE)
            slots.note(conn, shown)
            if not self.model.store:
                layout.show(conn, self.model, shown)
            points.reached("rebuild.before_swap")
        if self.model.store:
            with opened(self.model) as rows:
                rows.show(slot.number)
        return True

    def _refuse_incomplete(self, slot: Slot) -> None:
        missing = sorted(stream for stream, at in slot.after.items() if at and stream not in slot.complete)
        if missing:
            raise StrangleError(
                f"slot {slot.number} of {self.model.name!r} began inside {missing}, but has not seen the end of a "
                "publication of state there; wait until strangle_state_events has finished, then run the same command "
                "again"
            )

    def _reach(self, conn: Connection, slot: Slot, stream: str) -> bool:
        """Read, under the lock, up to where the live inbox is; False when that is too much to do there."""
        group, live = self._group(slot), self._live_at(conn, slot, stream)
        at = self._at(conn, slot, stream)
        if live - at > NEAR:
            return False
        while at < live:
            batch = self._feed(stream, group).fetch(after=at, limit=settings().BATCH_ROWS, wait_seconds=0)
            at = apply_inside(batch, None, using=self.alias, group=group)
        self._refuse_parked(conn, stream, group)
        return True

    def _live_at(self, conn: Connection, slot: Slot, stream: str) -> int:
        live, own = (inbox_name(stream, group) for group in (self.model.of_group(), self._group(slot)))
        at = positions(conn, live)[0]
        followed, read = identity(conn, live), identity(conn, own)
        if followed and read and followed != read:
            raise StrangleError(
                f"slot {slot.number} of {self.model.name!r} was read from another stream {stream!r} than the live one "
                f"follows; move the group {self.model.of_group()!r} first: strangle_consume {stream} --group "
                f"{self.model.of_group()} --from-head, then run the same command again"
            )
        return at

    def _at(self, conn: Connection, slot: Slot | None, stream: str) -> int:
        return positions(conn, inbox_name(stream, self._group(slot)))[0] if slot else self.after.get(stream, 0)

    def _group(self, slot: Slot) -> str:
        return f"{self.model.name.replace('_', '-')}-s{slot.number}"

    def _feed(self, stream: str, group: str) -> PeekingFeed:
        key = f"{stream}@{group}"
        if key not in self._feeds:
            self._feeds[key] = self._open(stream, group)
        return self._feeds[key]

    def _clear(self, slot: Slot) -> None:
        """Drop what the swap left behind, and the inboxes of the rebuild."""
        with transaction.atomic(using=self.alias):
            conn = django_connection(self.alias)
            self._forget_inboxes(conn, slot)
            for old in slots.left(conn, self.model.name):
                layout.drop(conn, old)
                if self.model.store:
                    with opened(self.model) as rows:
                        rows.drop(old.number)

    def _forget(self, conn: Connection, slot: Slot) -> None:
        self._forget_inboxes(conn, slot)
        layout.drop(conn, slot)
        if self.model.store:
            with opened(self.model) as rows:
                rows.drop(slot.number)

    def _forget_inboxes(self, conn: Connection, slot: Slot) -> None:
        for stream in self.model.streams():
            inbox = inbox_name(stream, self._group(slot))
            conn.execute("DELETE FROM strangle_inbox WHERE stream = %s", [inbox])
            conn.execute("DELETE FROM strangle_dead_letter WHERE stream = %s", [inbox])
