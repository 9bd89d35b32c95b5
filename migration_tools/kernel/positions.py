"""What a consumer does with a batch of dense positions: take it, skip it, or find that something is missing."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol, TypeVar


class Admission(StrEnum):
    """The three ways a batch may meet a position."""

    TAKE = "take"  # it holds the next record; from there on it is new
    SKIP = "skip"  # all of it is applied
    HOLE = "hole"  # records between the position and the batch are missing: read the feed


class Placed(Protocol):
    """A record with its position in the stream."""

    @property
    def position(self) -> int: ...


P = TypeVar("P", bound=Placed)


def admit(at: int, first: int, last: int) -> Admission:
    """Decide about a batch of `first` < position <= `last` where everything up to `at` is applied."""
    if last <= at:
        return Admission.SKIP
    return Admission.HOLE if first > at else Admission.TAKE


def fresh(records: Iterable[P], at: int) -> list[P]:
    """The records that are not applied yet."""
    return [record for record in records if record.position > at]


def advance(rows_at: int, last: int) -> tuple[int, int]:
    """(position of events, position of rows) after a batch: rows may run ahead of events, never behind them."""
    return last, max(rows_at, last)


def follow(previous: tuple[int, int, int] | None) -> tuple[int, int]:
    """(number, base) of the next tick after one with (number, base, records): no position is left out or given
    twice."""
    if previous is None:
        return 1, 0
    number, base, records = previous
    return number + 1, base + records
