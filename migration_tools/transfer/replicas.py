"""Keep a replica in a further store: follow the source's stream by position, and read the source at exact ticks.

A replica needs no stop of its own: what is written is guarded by versions, see Note [the version rule]. A gate, an
advisory lock in the source, keeps two processes from writing the replica's progress at once, and lets a verification
stand exactly at a tick. A process that lost its gate can only do again what was done.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

from migration_tools.capture.models import Side
from migration_tools.capture.ownership import read_owner
from migration_tools.capture.projector import key_arrays, keyed_query
from migration_tools.capture.relations import InstalledRelation, read_relations
from migration_tools.conf import settings
from migration_tools.errors import FenceBusy, StaleCheckpoint, TransferError
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.lag import REPLICA_PREFIX
from migration_tools.messaging.stream import note_receipt, read_batch
from migration_tools.playbook.replicas import Replica
from migration_tools.stores.canonical import Kind, kind_of
from migration_tools.stores.ports import Column, Key, Progress, Shape, Store, Values, VersionedRow
from migration_tools.stores.postgres import Connection, advisory, errors, sql
from migration_tools.stores.postgres.canonical import type_names
from migration_tools.transfer.stops import tick_and_export

GATE_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A replica against the relation that is installed in the source: its name, and what its rows look like."""

    stream: str
    replica: Replica
    relation: InstalledRelation
    shape: Shape
    key_types: tuple[str, ...]

    @property
    def name(self) -> str:
        """The replica within all streams: also its lock's and its progress's name."""
        return f"{self.stream}.{self.replica.name}"

    @property
    def consumer(self) -> str:
        """The replica among the stream's consumers."""
        return REPLICA_PREFIX + self.replica.name


def bind(source: Connection, stream: str, replica: Replica) -> Bound:
    """Find the installed relation of a replica's projection and make the shape of its rows.

    Raises:
        TransferError: nothing is captured, or the projection is not one a replica can follow.
    """
    relations = [r for r in read_relations(source, stream) if r.kind == "r" and r.target_table == replica.of]
    if not relations:
        raise TransferError(
            f"changes of {replica.of!r} are not captured, so a replica could not follow; "
            f"run strangle_dual_write {stream} first"
        )
    if len(relations) > 1:
        raise TransferError(f"{len(relations)} projections go into {replica.of!r}; a replica follows a table of one")
    relation = relations[0]
    types = type_names(source, sql.SQL(relation.query))
    chosen = [
        name
        for name in relation.columns
        if name in relation.key_columns or replica.columns is None or name in replica.columns
    ]
    columns = tuple(Column(name=n, type="text" if n in replica.as_text else types[n]) for n in chosen)
    shape = Shape(
        name=f"{stream}.{replica.name}", into=replica.into, key=relation.key_columns, columns=columns, declaration=""
    )
    facts = [relation.query, shape.into, shape.key, [(column.name, column.type) for column in columns]]
    declaration = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return Bound(
        stream=stream,
        replica=replica,
        relation=relation,
        shape=replace(shape, declaration=declaration),
        key_types=tuple(types[name] for name in relation.key_columns),
    )


class Follower:
    """One replica with its store and two connections to the source: `sender` reads the stream, `reader` the rows."""

    def __init__(self, bound: Bound, store: Store, sender: Connection, reader: Connection):
        self.bound = bound
        self.store = store
        self.sender = sender
        self.reader = reader
        self._instant: int | None = None

    def begun(self) -> Progress:
        """The replica's progress.

        Raises:
            TransferError: it was never copied, or is not any more what it was copied as.
        """
        progress = self.store.progress(self.bound.shape)
        again = f"run strangle_replica {self.bound.stream} copy --only {self.bound.replica.name}"
        if progress is None:
            raise TransferError(f"replica {self.bound.replica.name!r} holds nothing yet; {again}")
        if progress.declaration != self.bound.shape.declaration:
            raise StaleCheckpoint(
                f"replica {self.bound.replica.name!r} was copied with an older playbook, so its rows may be mapped "
                f"the old way; {again} --restart"
            )
        return progress

    def begin(self) -> Progress:
        """Make room in the store and take the stream's end at a tick as the position from which changes are applied."""
        self.store.prepare(self.bound.shape)
        with self.gate(), self.instant() as position:
            # The receipt first: from here on retention keeps what the replica has not applied.
            note_receipt(self.sender.cursor(), self.bound.stream, self.bound.consumer, position)
            progress = Progress(declaration=self.bound.shape.declaration, position=position)
            self.store.remember(self.bound.shape, progress)
        return progress

    def forget(self) -> None:
        """Drop the replica, and let the stream forget it."""
        with self.gate():
            self.store.drop(self.bound.shape)
            self.sender.execute(
                "DELETE FROM strangle_consumer WHERE stream = %s AND name = %s",
                [self.bound.stream, self.bound.consumer],
            )

    def step(self, *, upto: int | None = None) -> Progress:
        """Apply one batch of the stream, if there is one: rows first, the position after them."""
        with self.gate():
            progress = self.begun()
            # What the store says it holds is the receipt: the stream may drop it.
            note_receipt(self.sender.cursor(), self.bound.stream, self.bound.consumer, progress.position)
            if upto is not None and progress.position >= upto:
                return progress
            batch = self._read(progress.position, upto)
            if batch.first == batch.last:
                return progress
            rows, stale = self._rows(batch)
            self.store.upsert(self.bound.shape, rows)
            if stale:
                self._refresh(stale)
            points.reached("replica.rows_written")
            progress = replace(progress, position=batch.last)
            self.store.remember(self.bound.shape, progress)
            points.reached("replica.position_written")
            return progress

    def catch_up(self, position: int) -> None:
        """Apply everything up to a position that the stream has reached."""
        while self.step(upto=position).position < position:
            pass

    @contextmanager
    def gate(self) -> Iterator[None]:
        """Keep every other process off this replica for the block; may be taken again inside.

        Raises:
            FenceBusy: another process did not let go in time.
        """
        timeout = f"{int(GATE_TIMEOUT_SECONDS * 1000)}ms"
        self.sender.execute("SELECT set_config('lock_timeout', %s, false)", [timeout])
        try:
            advisory.hold(self.sender, LockClass.GATE, self.bound.name)
        except errors.LockNotAvailable as error:
            holder = advisory.holder(self.sender, LockClass.GATE, self.bound.name)
            raise FenceBusy(
                f"{holder or 'another process'} has held replica {self.bound.replica.name!r} for "
                f"{GATE_TIMEOUT_SECONDS:.0f} s; see whether its store answers, then run the same command again"
            ) from error
        finally:
            if not self.sender.closed:
                self.sender.execute("SELECT set_config('lock_timeout', '0', false)")
        try:
            yield
        finally:
            if not self.sender.closed:
                advisory.release(self.sender, LockClass.GATE, self.bound.name)

    @contextmanager
    def instant(self) -> Iterator[int]:
        """For the block `reader` sees the source exactly at a fresh tick, whose position this gives."""
        self._instant = tick_and_export(self.sender, self.reader, self.bound.stream)
        try:
            yield self._instant
        finally:
            self._instant = None
            if not self.reader.closed:
                self.reader.execute("ROLLBACK")

    def source_rows(self) -> sql.Composed:
        """The source's mapped rows as a FROM item `r`, for statements with parameters."""
        return sql.SQL("({}) r").format(sql.SQL(self.bound.relation.query.replace("%", "%%")))

    def values_of(self, keys: Sequence[Key]) -> dict[Key, Values]:
        """PostgreSQL's text of the source's rows with these source keys, by source key; inside `instant`."""
        width = len(self.bound.relation.key_types)
        names: list[sql.Composable] = [sql.SQL(f"r.k{place}::text") for place in range(width)]
        names += [sql.SQL("r.{}::text").format(sql.Identifier(column.name)) for column in self.bound.shape.columns]
        query = sql.SQL("SELECT {} FROM ({}) r").format(sql.SQL(", ").join(names), keyed_query(self.bound.relation))
        found = self.reader.execute(query, key_arrays(keys, width)).fetchall()
        return {tuple(row[:width]): tuple(row[width:]) for row in found}

    def held_keys(self, keys: Sequence[Key]) -> list[Key]:
        """Source keys as the replica spells them: the text after the mapping's cast."""
        if not keys or same_spelling(self.bound):
            return list(keys)
        casts = sql.SQL(", ").join(
            sql.SQL("k{}::{}::text").format(sql.SQL(str(place)), sql.SQL(kind))
            for place, kind in enumerate(self.bound.key_types)
        )
        names = sql.SQL(", ").join(sql.SQL(f"k{place}") for place in range(len(self.bound.key_types)))
        arrays = sql.SQL(", ").join(
            sql.SQL("%s::text[]::{}[]").format(sql.SQL(t)) for t in self.bound.relation.key_types
        )
        statement = sql.SQL("SELECT {} FROM unnest({}) WITH ORDINALITY AS u({}, n) ORDER BY n").format(
            casts, arrays, names
        )
        return [tuple(row) for row in self.sender.execute(statement, key_arrays(keys, len(self.bound.key_types)))]

    def _read(self, after: int, upto: int | None) -> Batch:
        own = settings()
        try:
            return read_batch(
                self.sender.cursor(), self.bound.stream, origin=own.SIDE, after=after, limit=own.BATCH_ROWS, upto=upto
            )
        except TransferError as error:
            raise TransferError(
                f"replica {self.bound.replica.name!r} cannot go on from position {after}: the stream ends before it or "
                f"no longer has what follows; run strangle_replica {self.bound.stream} copy --only "
                f"{self.bound.replica.name} --restart"
            ) from error

    def _rows(self, batch: Batch) -> tuple[list[VersionedRow], list[Key]]:
        """The batch's rows with their positions as versions, and the source keys that must be read whole."""
        rows: list[VersionedRow] = []
        gone: list[tuple[Key, int]] = []
        stale: dict[Key, None] = {}
        for record in batch.rows:
            head = batch.relations[record.relation]
            if head.table != self.bound.relation.target_table:
                continue
            if record.kind == "g":
                gone.append((record.key, record.position))
                continue
            given = dict(zip(head.columns, record.values or (), strict=True))
            if head.patch or any(column.name not in given for column in self.bound.shape.columns):
                stale[record.key] = None
                continue
            values = tuple(given[column.name] for column in self.bound.shape.columns)
            rows.append(VersionedRow(key=self.bound.shape.key_of(values), version=record.position, values=values))
        keys = self.held_keys([key for key, _ in gone])
        rows += [VersionedRow(key=k, version=at, values=None) for k, (_, at) in zip(keys, gone, strict=True)]
        return rows, list(stale)

    def _refresh(self, keys: Sequence[Key]) -> None:
        """Write rows whole of which only some columns came: a store has one version a row, so it takes no patches."""
        # Inside an instant its own snapshot is read: it has every record that is being applied, and nothing newer.
        with nullcontext(self._instant) if self._instant is not None else self.instant() as position:
            found = self.values_of(keys)
        absent = [key for key in keys if key not in found]
        rows = [VersionedRow(key=self.bound.shape.key_of(v), version=position, values=v) for v in found.values()]
        rows += [VersionedRow(key=key, version=position, values=None) for key in self.held_keys(absent)]
        self.store.upsert(self.bound.shape, rows)


def same_spelling(bound: Bound) -> bool:
    """Whether the mapping's cast leaves the text of every key as it is."""
    pairs = zip(bound.relation.key_types, bound.key_types, strict=True)
    return all(a == b or kind_of(a) is kind_of(b) is Kind.INTEGER for a, b in pairs)


def refuse_other_owner(source: Connection, bound: Bound) -> None:
    """A replica follows the monolith's stream, which the context leaves at the cutover.

    Raises:
        TransferError: the service owns the replica's rows now.
    """
    owner = read_owner(source, bound.stream)
    if bound.relation.owned and owner is not None and owner.owner is Side.TARGET:
        raise TransferError(
            f"the service owns {bound.stream!r} now, and replica {bound.replica.name!r} follows the monolith's stream; "
            f"give the service a replica of its own, then run strangle_replica {bound.stream} drop --only "
            f"{bound.replica.name}"
        )
