"""Check a playbook's invariants within a pair of snapshots; a broken one is a difference of a class of its own."""

from collections.abc import Callable, Iterable, Iterator

from migration_tools.playbook.compiled_invariants import CompiledInvariant
from migration_tools.stores.postgres import Connection
from migration_tools.verification.classify import same_value
from migration_tools.verification.compare import LARGEST_REPORT
from migration_tools.verification.report import Difference, DifferenceKind, FieldDifference, TableResult


def check_invariants(
    invariants: Iterable[CompiledInvariant],
    source: Connection,
    target: Connection,
    heed: Callable[[], None] = lambda: None,
) -> Iterator[TableResult]:
    """Each invariant's result; `source` and `target` show the context's sides at one instant, whoever owns it.

    Rows are not counted: they were by the comparison.
    """
    for each in invariants:
        heed()
        if each.source is None:
            differences, truncated = _broken_rows(each, target)
        else:
            differences, truncated = _unequal_totals(each, each.source, source, target), 0
        yield TableResult(
            projection=f"invariant: {each.name}",
            source_table="",
            target_table=each.table,
            rows_source=0,
            rows_target=0,
            differences=differences,
            truncated=truncated,
        )


def _broken_rows(each: CompiledInvariant, target: Connection) -> tuple[list[Difference], int]:
    kept: list[Difference] = []
    count = 0
    for row in target.cursor().stream(each.target, size=1000):
        count += 1
        if len(kept) < LARGEST_REPORT:
            kept.append(Difference(table=each.table, key=tuple(row), kind=DifferenceKind.INVARIANT))
    return sorted(kept, key=lambda difference: difference.key), count - len(kept)


def _unequal_totals(each: CompiledInvariant, query: str, source: Connection, target: Connection) -> list[Difference]:
    ours, theirs = source.execute(query).fetchone(), target.execute(each.target).fetchone()
    one, other = (row[0] if row else None for row in (ours, theirs))
    if same_value(one, other, "numeric"):
        return []
    total = FieldDifference(column=each.name, source=one, target=other, type="numeric")
    return [Difference(table=each.table, key=(), kind=DifferenceKind.INVARIANT, fields=[total])]
