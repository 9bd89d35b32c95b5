"""What a run of row records comes to: the newest state of each key, who accepts it, and what is taken out first."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

ROW, GONE, PATCH = "r", "g", "p"


class Head(Protocol):
    """What a decision needs to know of a relation."""

    @property
    def table(self) -> str: ...
    @property
    def owned(self) -> bool: ...
    @property
    def patch(self) -> bool: ...


class Keyed(Protocol):
    """What a decision needs to know of a record."""

    @property
    def kind(self) -> str: ...
    @property
    def relation(self) -> int: ...
    @property
    def key(self) -> Hashable: ...


K = TypeVar("K", bound=Hashable)
R = TypeVar("R", bound=Keyed)
T = TypeVar("T")


def accepted(relations: Mapping[int, Head], *, owns: bool) -> set[int]:
    """Relations whose records a side takes: rows of the context only while the other side owns it, patches always."""
    return {number for number, head in relations.items() if head.patch or not (head.owned and owns)}


def newest(relations: Mapping[int, Head], rows: Iterable[R]) -> tuple[dict[str, dict[Hashable, R]], list[R]]:
    """Per table the last whole record of each key, and the patches that came after it; see Note [the last state
    wins]."""
    whole: dict[str, dict[Hashable, R]] = {}
    patches: dict[tuple[str, Hashable], R] = {}
    for row in rows:
        table = relations[row.relation].table
        if row.kind == PATCH:
            patches[(table, row.key)] = row
        else:
            whole.setdefault(table, {})[row.key] = row
            patches.pop((table, row.key), None)
    return whole, list(patches.values())


def departures(gone: Sequence[T], changed: Sequence[T]) -> Iterator[list[T]]:
    """What to take out before the rows that changed are written, attempt by attempt, while a unique value is held.

    Usually nothing; else the rows that ended, which may hold the value; else all, because rows swap it.
    """
    yield []
    yield list(gone)
    yield [*gone, *changed]


def endings(touched: Iterable[K], found: Callable[[K], bool]) -> list[K]:
    """Touched keys that the tick's snapshot does not hold, in order: each of them has ended."""
    return sorted(key for key in touched if not found(key))  # type: ignore[type-var]
