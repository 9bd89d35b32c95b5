"""A PostgreSQL in miniature: row versions, snapshots, row locks, advisory locks, an outbox and ticks, as one value.

Note [the modelled PostgreSQL]. A transaction gets its id at its first write. Committing is two steps: it is in the log,
then it is visible and its locks fall. A row is locked while its newest version belongs to a running transaction. What
every present and future snapshot sees alike is frozen (id 0), and ids are renumbered by rank, so that histories that
differ only in numbers are one state.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, NamedTuple

from migration_tools.kernel.snapshots import Snapshot

Row = Any
Key = int
Chain = tuple[tuple[int, Row | None], ...]  # versions (transaction id, row or None), oldest first

FROZEN = 0
NAME = 0  # the key of the one row of the other context's table, which every mapped row joins


class Outbox(NamedTuple):
    """What a captured statement or a published event wrote."""

    xid: int
    seq: int
    kind: str  # 't' touched keys, 'e' event
    keys: tuple[Any, ...]


class Record(NamedTuple):
    """A stream record, as kernel.records and kernel.positions read it."""

    position: int
    kind: str
    relation: int
    key: Any
    values: Any
    version: int = 0


class Tick(NamedTuple):
    """A tick and its records; `image` is what the mapped rows were in its snapshot, for the properties alone."""

    number: int
    base: int
    records: tuple[Record, ...]
    image: tuple[tuple[Key, Row], ...] | None

    @property
    def last(self) -> int:
        return self.base + len(self.records)


class Database(NamedTuple):
    """One side."""

    next_xid: int = 1
    running: tuple[int, ...] = ()
    rows: tuple[tuple[Key, Chain], ...] = ()
    next_key: int = 1
    installed: bool = True
    outbox: tuple[Outbox, ...] = ()
    next_seq: int = 1
    # As the sender of a stream.
    ticks: tuple[Tick, ...] = ()
    snapshot: Snapshot | None = None
    cursor: int = 0
    tick_lock: str = ""
    # The fence.
    owner: tuple[tuple[int, tuple[int, int]], ...] = ((FROZEN, (0, 1)),)
    sharing: frozenset[int] = frozenset()
    fence_lock: str = ""
    # As the receiver of the other side's stream.
    position: int = 0
    rows_position: int = 0
    effects: tuple[tuple[str, int], ...] = ()
    gate_lock: str = ""
    copied: int = 0
    versions: tuple[tuple[Key, int], ...] = ()

    @property
    def head(self) -> int:
        return self.ticks[-1].last if self.ticks else 0

    def chain(self, key: Key) -> Chain:
        """The versions of a row."""
        for each, chain in self.rows:
            if each == key:
                return chain
        return ()

    def now(self) -> Snapshot:
        """What a statement that begins now would see: pg_current_snapshot()."""
        xmin = min(self.running, default=self.next_xid)
        return Snapshot(xmin, self.next_xid, self.running)

    def read(self, key: Key, snapshot: Snapshot, own: int = -1) -> Row | None:
        """The row as a snapshot sees it; None when there is none."""
        for xid, row in reversed(self.chain(key)):
            if xid == own or snapshot.sees(xid):
                return row
        return None

    def holder(self, key: Key, own: int = -1) -> int | None:
        """The running transaction that has the row locked, other than `own`."""
        chain = self.chain(key)
        if chain and chain[-1][0] in self.running and chain[-1][0] != own:
            return chain[-1][0]
        return None

    def present(self) -> list[Key]:
        """Keys of rows with any version, without the other context's."""
        return [key for key, _ in self.rows if key != NAME]

    def table(self, snapshot: Snapshot) -> tuple[tuple[Key, Row], ...]:
        """The context's rows as a snapshot sees them."""
        found = ((key, self.read(key, snapshot)) for key in self.present())
        return tuple((key, row) for key, row in found if row is not None)

    def begin(self) -> tuple["Database", int]:
        """Assign a transaction id."""
        return self._replace(next_xid=self.next_xid + 1, running=(*self.running, self.next_xid)), self.next_xid

    def write(self, key: Key, row: Row | None, xid: int) -> "Database":
        """Add a version; the caller has looked for locks."""
        chain = self.chain(key)
        if chain and chain[-1][0] == xid:
            chain = chain[:-1]
        rest = [(k, c) for k, c in self.rows if k != key]
        return self._replace(rows=tuple(sorted([*rest, (key, (*chain, (xid, row)))], key=lambda item: item[0])))

    def put(self, rows: Iterable[tuple[Key, Row | None]]) -> "Database":
        """Write rows in a transaction of their own that commits at once."""
        db, xid = self.begin()
        for key, row in rows:
            db = db.write(key, row, xid)
        return db.end(xid)

    def say(self, kind: str, keys: tuple[Any, ...], xid: int) -> "Database":
        """Write an outbox row; its number is drawn now, whenever the transaction commits."""
        row = Outbox(xid, self.next_seq, kind, keys)
        return self._replace(outbox=(*self.outbox, row), next_seq=self.next_seq + 1)

    def end(self, xid: int) -> "Database":
        """Make a transaction visible."""
        return self._replace(running=tuple(each for each in self.running if each != xid))

    def abort(self, xid: int) -> "Database":
        """Undo a transaction; numbers it drew are lost."""
        rows = ((key, tuple(v for v in chain if v[0] != xid)) for key, chain in self.rows)
        return self.end(xid)._replace(
            rows=tuple((key, chain) for key, chain in rows if chain),
            outbox=tuple(each for each in self.outbox if each.xid != xid),
        )

    def believes(self, snapshot: Snapshot | None = None) -> tuple[int, int]:
        """(owner, epoch) that the fence's row holds, for a snapshot or as last committed."""
        for xid, value in reversed(self.owner):
            if snapshot is None or snapshot.sees(xid):
                return value
        raise AssertionError("an owner row without a visible version")

    def set_owner(self, owner: int, epoch: int) -> "Database":
        """capture.ownership.set_owner, committed at once: an epoch never goes back."""
        if self.believes()[1] >= epoch:
            return self
        db, xid = self.begin()
        return db.end(xid)._replace(owner=(*self.owner, (xid, (owner, epoch))))


class Renumbering:
    """Freezes what everybody sees and renumbers what is left by rank."""

    def __init__(self, db: Database, live: list[Snapshot]):
        horizon = min([db.next_xid, *db.running, *(each.xmin for each in live)])
        self.rows = tuple((k, c) for k, c in ((k, _freeze(c, horizon)) for k, c in db.rows) if c)
        self.owner = _freeze(db.owner, horizon, keep=True)
        used = set(db.running) | {o.xid for o in db.outbox} | {x for x, _ in self.owner}
        used.update(x for _, chain in self.rows for x, _ in chain)
        used.discard(FROZEN)
        self._used = sorted(used)
        self._same = self._used == list(range(1, db.next_xid))

    def rank(self, xid: int) -> int:
        return xid if xid <= FROZEN else bisect_left(self._used, xid) + 1

    def snapshot(self, old: Snapshot | None) -> Snapshot | None:
        """The snapshot in the new numbers; ids that nothing bears any more are left out."""
        if old is None or self._same:
            return old
        xip = tuple(self.rank(each) for each in old.xip if each in self._used)
        xmax = self.rank(old.xmax)
        return Snapshot(min(xip, default=xmax), xmax, xip)

    def apply(self, db: Database) -> Database:
        if self._same:
            return db._replace(rows=self.rows, owner=self.owner)
        seqs = sorted({*(o.seq for o in db.outbox)})
        return db._replace(
            next_xid=len(self._used) + 1,
            running=tuple(self.rank(each) for each in db.running),
            rows=tuple((k, tuple((self.rank(x), row) for x, row in chain)) for k, chain in self.rows),
            owner=tuple((self.rank(x), value) for x, value in self.owner),
            outbox=tuple(o._replace(xid=self.rank(o.xid), seq=bisect_left(seqs, o.seq) + 1) for o in db.outbox),
            next_seq=len(seqs) + 1,
            cursor=bisect_left(seqs, db.cursor + 1),
            snapshot=self.snapshot(db.snapshot),
        )


def _freeze(chain: tuple[Any, ...], horizon: int, *, keep: bool = False) -> tuple[Any, ...]:
    """Drop versions that nobody can see any more; a row whose end everybody sees is gone."""
    place = max((i for i, (xid, _) in enumerate(chain) if xid < horizon), default=None)
    if place is None:
        return chain
    rest = chain[place:]
    if len(rest) == 1 and rest[0][1] is None and not keep:
        return ()
    return ((FROZEN, rest[0][1]), *rest[1:])
