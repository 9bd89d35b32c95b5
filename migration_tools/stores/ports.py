"""What a store beside PostgreSQL must do: hold the newest version of each row, remember positions, tell digests.

Note [the version rule]. Every record of a stream has a dense position, fixed once it is committed; a row of a chunk
copied at tick T has T's position. That number is the row's version. A store keeps, for each key, the newest version it
was ever given, deletions included: what is older is ignored, what is as old is the same row. So duplicates, any order
of delivery and a process killed between an effect and the position that follows it are all harmless, and nothing
deleted comes back.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from migration_tools.stores.canonical import Digests, Kind, RowHash, kind_of

Key = tuple[str, ...]
Values = tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its name, and its type as PostgreSQL's format_type spells it where the rows come from."""

    name: str
    type: str

    @property
    def kind(self) -> Kind:
        """What the type is to a store."""
        return kind_of(self.type)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a store holds for one replica.

    `name` identifies the replica in the store's own bookkeeping, `into` is its table, collection or key template; `key`
    names columns, which are never NULL; `declaration` is a hash of everything that decides what rows look like.
    """

    name: str
    into: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    declaration: str

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the key, in the key's order."""
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key)

    def key_of(self, values: Values) -> Key:
        """The key among a row's values."""
        by_name = dict(zip((column.name for column in self.columns), values, strict=True))
        return tuple(str(by_name[name]) for name in self.key)


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionedRow:
    """A row as of a position of its stream: PostgreSQL's text of each value, or None when the row is no more."""

    key: Key
    version: int
    values: Values | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a store holds under a key: the version, and the canonical text of each column."""

    version: int
    values: Values


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a replica is: every record up to `position` is in it, and history up to the key `upto` is copied."""

    declaration: str
    position: int
    upto: Key | None = None
    rows: int = 0
    done: bool = False


class Store(Protocol):
    """One engine, opened. Every call may be repeated; each raises StoreError when the engine refuses or is away."""

    def prepare(self, shape: Shape) -> None:
        """Make what holds the rows; nothing when it is there already.

        Raises:
            StoreError: something else is there under that name.
        """
        ...

    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        """Take each row unless a newer version of its key is held, see Note [the version rule].

        Durable as far as the engine is when it returns; it need not be atomic.
        """
        ...

    def read(self, shape: Shape, keys: Collection[Key]) -> dict[Key, Held]:
        """The rows with these keys; deleted and unknown ones are left out."""
        ...

    def digest(self, shape: Shape, buckets: int) -> Digests:
        """Count and two sums of row hashes per bucket of keys, see stores.canonical; `buckets` is a power of two."""
        ...

    def scan(self, shape: Shape, buckets: int, wanted: Collection[int]) -> Iterator[tuple[Key, RowHash]]:
        """Key and hash of every row in these buckets."""
        ...

    def progress(self, shape: Shape) -> Progress | None:
        """What was last remembered; None before."""
        ...

    def remember(self, shape: Shape, progress: Progress) -> None:
        """Keep the progress, durable as far as the rows before it are."""
        ...

    def drop(self, shape: Shape) -> None:
        """Remove rows, tombstones and progress; nothing when they are not there."""
        ...

    def close(self) -> None:
        """Let go of the engine."""
        ...


def newest(rows: Iterable[VersionedRow]) -> list[VersionedRow]:
    """The row of each key with the greatest version, the last of equal ones."""
    kept: dict[Key, VersionedRow] = {}
    for row in rows:
        before = kept.get(row.key)
        if before is None or before.version <= row.version:
            kept[row.key] = row
    return list(kept.values())
