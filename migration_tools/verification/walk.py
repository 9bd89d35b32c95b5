"""Walk a table range by range, each compared in snapshots of bounded age, sized by the speed of those before."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from migration_tools.capture.projector import ROWS_IN_PYTHON
from migration_tools.capture.relations import InstalledRelation
from migration_tools.conf import settings
from migration_tools.kernel import points
from migration_tools.stores.postgres import Connection, sql
from migration_tools.stores.postgres.catalog import read_table
from migration_tools.transfer.ranges import Bound, KeyRange, next_bound, source_condition
from migration_tools.verification.compare import LARGEST_REPORT, compare_relation
from migration_tools.verification.pairing import Pair, Snapshots
from migration_tools.verification.report import TableResult

FORTH, BACK, INVARIANT = "forth", "back", "invariant"

SPEED_AT_FIRST = 100_000.0
SMALLEST_RANGE = 1_000

# Bounds of a range must mean the same order on both sides.
_INTEGERS = ("smallint", "integer", "bigint")


@dataclass(frozen=True, kw_only=True)
class RangeResult:
    """A range compared: `upto` is None for the last of its table."""

    way: str
    table: str
    upto: Bound | None
    position: int
    result: TableResult


class Ledger(Protocol):
    """Remembers the ranges of a run that are done."""

    def done(self, way: str, table: str) -> list[RangeResult]:
        """Those of a table, in order."""
        ...

    def record(self, found: RangeResult) -> None:
        """Remember one more; durable when it returns."""
        ...


class Memory:
    """A ledger for a run that is not resumed."""

    def __init__(self) -> None:
        self._results: list[RangeResult] = []

    def done(self, way: str, table: str) -> list[RangeResult]:
        """Those of a table, in order."""
        return [each for each in self._results if (each.way, each.table) == (way, table)]

    def record(self, found: RangeResult) -> None:
        """Remember one more."""
        self._results.append(found)


class Walk:
    """Compares tables of one run; `heed` is asked before each range and may raise.

    `rows_at_most` narrows the ranges further than VERIFY_RANGE_ROWS does.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        ledger: Ledger,
        heed: Callable[[], None] = lambda: None,
        *,
        rows_at_most: int | None = None,
    ):
        self.snapshots = snapshots
        self.ledger = ledger
        self.heed = heed
        self.rows_at_most = rows_at_most or settings().VERIFY_RANGE_ROWS
        self._speed = SPEED_AT_FIRST

    def compare(self, way: str, relation: InstalledRelation) -> Iterator[RangeResult]:
        """Yield every range of the table: those done before, then the rest as they are compared."""
        done = self.ledger.done(way, relation.target_table)
        yield from done
        after = done[-1].upto if done else None
        kept = sum(len(each.result.differences) for each in done)
        while not done or after is not None:
            self.heed()
            found = self.next_range(way, relation, after, LARGEST_REPORT - kept)
            points.reached("verify.range_compared")
            self.ledger.record(found)
            points.reached("verify.range_recorded")
            done = [found]
            after, kept = found.upto, kept + len(found.result.differences)
            yield found

    def next_range(
        self, way: str, relation: InstalledRelation, after: Bound | None, keep: int = LARGEST_REPORT
    ) -> RangeResult:
        """Compare the range that begins after `after`, of as many rows as the age of snapshots allows."""
        rows = self._rows_of(relation)
        pair = self.snapshots.pair(rows / self._speed)
        pair = pair if way == FORTH else pair.turned()
        began = time.monotonic()
        upto = _bound(pair, relation, after, rows)
        result = compare_relation(pair, relation, within=KeyRange(after=after, upto=upto), keep=max(keep, 0))
        seconds = max(time.monotonic() - began, 0.001)
        if result.rows >= SMALLEST_RANGE:
            # Follow a slower server at once, a faster one by and by.
            self._speed = min(result.rows / seconds, 2 * self._speed)
        return RangeResult(way=way, table=relation.target_table, upto=upto, position=pair.position, result=result)

    def _rows_of(self, relation: InstalledRelation) -> int:
        """Rows that Python has made are held in memory, so their ranges are smaller."""
        return min(self.range_rows(), ROWS_IN_PYTHON) if relation.transforms else self.range_rows()

    def range_rows(self) -> int:
        """How many rows a range may have so that its snapshots stay young enough."""
        wanted = int(self._speed * settings().VERIFY_RANGE_SECONDS / 2)
        return max(min(wanted, self.rows_at_most), 1)


def _bound(pair: Pair, relation: InstalledRelation, after: Bound | None, rows: int) -> Bound | None:
    """Where the range ends; None when what is left fits, or when the two sides might order keys differently."""
    if relation.transforms:
        # As the copy does: live_validation has seen to one order, and an estimate is not enough.
        return next_bound(pair.sender, relation, after, rows)
    if not _ordered_alike(pair.receiver, relation):
        return None
    if planned_rows(pair.sender, relation, after) <= rows:
        return None
    return next_bound(pair.sender, relation, after, rows)


def _ordered_alike(receiver: Connection, relation: InstalledRelation) -> bool:
    shape = read_table(receiver, relation.target_table)
    assert shape is not None  # noqa: S101  (installed relations were compiled against it)
    theirs = [shape.columns[name].type for name in relation.key_columns]
    return all(a == b or (a in _INTEGERS and b in _INTEGERS) for a, b in zip(relation.key_types, theirs, strict=True))


def planned_rows(conn: Connection, relation: InstalledRelation, after: Bound | None = None) -> int:
    """How many of the relation's rows the planner expects beyond `after`."""
    statement = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM ({}) r WHERE {}").format(
        sql.SQL(relation.query), source_condition(relation, KeyRange(after=after, upto=None))
    )
    row = conn.execute(statement).fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"]) if row else 0
