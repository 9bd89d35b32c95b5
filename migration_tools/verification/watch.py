"""Verify without end: the keys that the stream says have changed, and range by range everything else.

Note [what watching sees]. Each step opens a pair of snapshots. A key that the owner changed since the last step is
compared in this one, since the stream names it. What was changed behind the stream's back (a hand in the target, a
disk) is found by the sweep, which walks through all tables in turn; one walk through all is a round. A difference stays
open, and is compared in every step, until it is found equal.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from migration_tools.capture.relations import InstalledRelation
from migration_tools.conf import settings
from migration_tools.playbook.compiled_invariants import CompiledInvariant
from migration_tools.transfer.copy import whole_relations
from migration_tools.transfer.ranges import Bound
from migration_tools.verification.compare import LARGEST_REPORT, compare_keys
from migration_tools.verification.invariants import check_invariants
from migration_tools.verification.pairing import Pair, Snapshots
from migration_tools.verification.report import Difference, TableResult, VerificationReport
from migration_tools.verification.verify import Sides
from migration_tools.verification.walk import BACK, FORTH, INVARIANT, Memory, Walk

SWEEP_ROWS = 50_000
TOUCHED_AT_MOST = 50_000

Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step did; `swept` is how far the round is, from 0 to 1, when `round_done` it is over."""

    position: int
    changed_keys: int
    swept_rows: int
    swept: float
    round_done: bool


@dataclass(kw_only=True)
class _Table:
    """What is known of one table in one way: its result in this round, and what is open."""

    result: TableResult
    open: dict[Key, Difference] = field(default_factory=dict)

    def add(self, found: TableResult) -> None:
        room = max(LARGEST_REPORT - len(self.open), 0)
        self.open |= {each.key: each for each in found.differences[:room]}
        left_out = len(found.differences[room:]) + found.truncated
        self.result = replace(self.result, truncated=self.result.truncated + left_out)

    @property
    def count(self) -> int:
        return len(self.open) + self.result.truncated


class Watch:
    """The state between steps; `seen` says whether this round met a difference, even one that is gone by now."""

    def __init__(self, invariants: Sequence[CompiledInvariant] = (), rows_at_most: int | None = None):
        self.invariants = invariants
        self.rows_at_most = rows_at_most or SWEEP_ROWS
        self.position: int | None = None
        self.began = time.time()
        self.seen = False
        self._tables: dict[tuple[str, str], _Table] = {}
        self._place = 0
        self._after: Bound | None = None

    @property
    def open(self) -> int:
        """How many differences are open."""
        return sum(table.count for table in self._tables.values())

    def begin_round(self) -> None:
        """Sweep from the first table on."""
        self._place, self._after, self.began, self.seen = 0, None, time.time(), self.open > 0
        for table in self._tables.values():
            table.result = replace(table.result, rows_source=0, rows_target=0, truncated=0)

    def forget(self) -> None:
        """Begin from nothing: the owner, the playbook or the rows were changed by us."""
        self.position = None
        self._tables = {}
        self.begin_round()

    def report(self, sides: Sides) -> VerificationReport:
        """The round so far, with what is open now."""
        return VerificationReport(
            context=sides.ends.stream,
            direction=sides.direction,
            position=self.position or 0,
            started=self.began,
            seconds=time.time() - self.began,
            tables=[replace(t.result, differences=sorted(t.open.values(), key=_key)) for t in self._tables.values()],
        )

    def step(self, sides: Sides, heed: Callable[[], None] = lambda: None) -> Step:
        """Compare what changed and what is open, then sweep one range further."""
        forth = whole_relations(sides.ends.sender, sides.ends.stream)
        back = whole_relations(sides.ends.receiver, sides.ends.stream) if sides.direction == "forward" else []
        plan = [(FORTH, each) for each in forth] + [(BACK, each) for each in back]
        with Snapshots(sides.ends, sides.receiver_reader, settings().VERIFY_RANGE_SECONDS) as snapshots:
            pair = snapshots.pair()
            touched = self._touched(pair)
            changed = 0
            for way, relation in plan:
                heed()
                keys = touched.get(relation.target_table, set()) if way == FORTH else set()
                changed += len(keys)
                self._recheck(pair, way, relation, keys)
            self.position = pair.position
            heed()
            swept = self._sweep(Walk(snapshots, Memory(), heed, rows_at_most=self.rows_at_most), plan)
            done = self._place >= len(plan)
            if done or any(way == INVARIANT and table.open for (way, _), table in self._tables.items()):
                self._check_invariants(snapshots.pair(), sides, heed)
        self.seen = self.seen or self.open > 0
        return Step(
            position=pair.position,
            changed_keys=changed,
            swept_rows=swept,
            swept=self._place / max(len(plan), 1),
            round_done=done,
        )

    def _touched(self, pair: Pair) -> dict[str, set[Key]]:
        """Keys by receiving table that the stream names since the last step; too many are left to a new sweep."""
        if self.position is None:
            return {}
        rows = pair.sender.execute(
            """SELECT DISTINCT r.target_table, s.key
               FROM strangle_stream s JOIN strangle_relation r ON r.id = s.relation
               WHERE s.stream = %s AND s.position > %s AND s.position <= %s LIMIT %s""",
            [pair.stream, self.position, pair.position, TOUCHED_AT_MOST + 1],
        ).fetchall()
        if len(rows) > TOUCHED_AT_MOST:
            self.begin_round()
            return {}
        found: dict[str, set[Key]] = {}
        for table, key in rows:
            found.setdefault(table, set()).add(tuple(key))
        return found

    def _recheck(self, pair: Pair, way: str, relation: InstalledRelation, keys: set[Key]) -> None:
        table = self._tables.get((way, relation.projection))
        wanted = keys | (table.open.keys() if table is not None else set())
        if not wanted:
            return
        found = compare_keys(pair if way == FORTH else pair.turned(), relation, sorted(wanted))
        table = self._tables.setdefault((way, relation.projection), _Table(result=_empty(found)))
        table.open.clear()
        table.add(found)

    def _sweep(self, walk: Walk, plan: list[tuple[str, InstalledRelation]]) -> int:
        """Compare the next ranges until they have as many rows as one step may; the way back only if forth is equal."""
        rows = 0
        while self._place < len(plan) and rows < self.rows_at_most:
            way, relation = plan[self._place]
            if way == BACK and any(each == FORTH and table.count for (each, _), table in self._tables.items()):
                self._place = len(plan)
                break
            walk.heed()
            found = walk.next_range(way, relation, self._after)
            table = self._tables.setdefault((way, relation.projection), _Table(result=_empty(found.result)))
            table.result = replace(
                table.result,
                rows_source=table.result.rows_source + found.result.rows_source,
                rows_target=table.result.rows_target + found.result.rows_target,
            )
            table.add(found.result)
            rows += found.result.rows
            self._after = found.upto
            self._place += found.upto is None
        return rows

    def _check_invariants(self, pair: Pair, sides: Sides, heed: Callable[[], None]) -> None:
        present = pair if sides.direction == "forward" else pair.turned()
        for found in check_invariants(self.invariants, present.sender, present.receiver, heed):
            table = _Table(result=_empty(found))
            table.add(found)
            self._tables[(INVARIANT, found.projection)] = table


def _empty(result: TableResult) -> TableResult:
    return replace(result, rows_source=0, rows_target=0, differences=[], truncated=0)


def _key(difference: Difference) -> Key:
    return difference.key
