"""Verify a context: both directions of its mapping, range by range, while writes go on."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from migration_tools.conf import settings
from migration_tools.playbook.compiled_invariants import CompiledInvariant
from migration_tools.stores.postgres import Connection
from migration_tools.transfer.copy import whole_relations
from migration_tools.transfer.stops import Ends
from migration_tools.verification.compare import LARGEST_REPORT
from migration_tools.verification.invariants import check_invariants
from migration_tools.verification.pairing import Snapshots
from migration_tools.verification.report import TableResult, VerificationReport, merge_results
from migration_tools.verification.walk import BACK, FORTH, INVARIANT, Ledger, Memory, RangeResult, Walk


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The owner's direction with a second connection to the receiver."""

    ends: Ends
    receiver_reader: Connection
    direction: str


def verify(
    sides: Sides,
    *,
    invariants: Sequence[CompiledInvariant] = (),
    ledger: Ledger | None = None,
    on_range: Callable[[RangeResult], None] = lambda _: None,
    heed: Callable[[], None] = lambda: None,
    rows_at_most: int | None = None,
) -> VerificationReport:
    """Compare every projection of a context, each key at one instant of both sides; see Note [exact by ranges].

    First the owner's mapping against the other side's tables. If that is clean, and the context's source owns it, also
    the way back: the reverse mapping of the target's rows against the source's own tables, so that a rollback is
    proven. Ranges that `ledger` holds are not compared again; `invariants` are checked in every run, at its end.
    """
    started, clock = time.time(), time.monotonic()
    positions: dict[int, None] = {}
    with Snapshots(sides.ends, sides.receiver_reader, settings().VERIFY_RANGE_SECONDS) as snapshots:
        walk = Walk(snapshots, ledger or Memory(), heed, rows_at_most=rows_at_most)

        def compare(way: str, conn: Connection) -> list[TableResult]:
            tables = []
            for relation in whole_relations(conn, sides.ends.stream):
                results = []
                for found in walk.compare(way, relation):
                    positions[found.position] = None
                    results.append(found.result)
                    on_range(found)
                tables.append(merge_results(results, LARGEST_REPORT))
            return tables

        tables = compare(FORTH, sides.ends.sender)
        if not any(table.count for table in tables) and sides.direction == "forward":
            tables += compare(BACK, sides.ends.receiver)
        if invariants:
            pair = snapshots.pair(settings().VERIFY_RANGE_SECONDS / 2)
            pair = pair if sides.direction == "forward" else pair.turned()
            positions[pair.position] = None
            for result in check_invariants(invariants, pair.sender, pair.receiver, heed):
                table = result.target_table
                on_range(RangeResult(way=INVARIANT, table=table, upto=None, position=pair.position, result=result))
                tables.append(result)
        instants = max(snapshots.opened, len(positions))
    return VerificationReport(
        context=sides.ends.stream,
        direction=sides.direction,
        position=max(positions, default=0),
        started=started,
        seconds=time.monotonic() - clock,
        tables=tables,
        snapshots=instants,
    )


def declaration_of(ends: Ends) -> str:
    """What a run compares, as one hash: ranges compared under another playbook say nothing of this one."""
    said = [
        (relation.projection, relation.query, relation.key_columns, relation.columns, *relation.transforms)
        for conn in (ends.sender, ends.receiver)
        for relation in whole_relations(conn, ends.stream)
    ]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]
