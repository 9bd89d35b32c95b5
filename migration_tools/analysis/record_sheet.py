"""The page of systems of record: for each context a table of its fields, with the one side that may write each now."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from migration_tools.analysis.system_of_record import MONOLITH, Record
from migration_tools.reports.sheet import Sheet, Table

HEAD = ("model", "field", "may be written by", "enforced by", "column", "copied to")


def sheet_of(records: Sequence[Record], made_at: str) -> Sheet:
    """The sheet; contexts and fields in the order of the map."""
    models = {each.model for each in records}
    moved = {each.context for each in records if each.writer != MONOLITH}
    fenced = sum(bool(each.enforced_by) for each in records)
    contexts = {each.context for each in records}
    return Sheet(
        title="Who may write what now",
        verdict=f"{len(moved)} of {len(contexts)} contexts {'has' if len(moved) == 1 else 'have'} left the monolith"
        if moved
        else "the monolith may write everything",
        good=True,
        circumstances=f"{len(records):,} fields of {len(models):,} models, one writer each; "
        f"{fenced:,} are enforced by the fence; as of {made_at}",
        tables=[_table(context, list(group)) for context, group in groupby(records, key=lambda each: each.context)],
        notes=["A copy follows its column in every phase and is written by nobody else."],
    )


def _table(context: str, records: Sequence[Record]) -> Table:
    return Table(title=", ".join(_told(context, records)), head=HEAD, rows=[_row(each) for each in records])


def _told(context: str, records: Sequence[Record]) -> Iterator[str]:
    first = records[0]
    yield context
    if first.owner:
        yield f"{first.owner} ({first.team})"
    yield from dict.fromkeys(f"phase {each.phase}" for each in records if each.phase)


def _row(record: Record) -> tuple[str, ...]:
    return (
        record.model,
        record.field,
        record.writer,
        f"the {record.enforced_by}" if record.enforced_by else "nothing",
        record.column,
        ", ".join(record.copies) or "-",
    )
