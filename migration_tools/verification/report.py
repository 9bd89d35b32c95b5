"""What a verification found: one versioned model, its JSON form and its redaction.

Every rendering (text, Markdown, HTML, JSON) is made from this model. Values are personal data until somebody
says otherwise: unless revealed, a value leaves this module only as its type and length. Primary keys and the
names of columns are kept, since without them a difference cannot be found again.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from migration_tools.errors import StrangleError
from migration_tools.reports.kinds import VERSIONS, Kind
from migration_tools.reports.letters import shape

VERSION = VERSIONS[Kind.VERIFY]

_QUOTED_SEGMENT = re.compile(r'\["((?:[^"\\]|\\.)*)"\]')


class DifferenceKind(StrEnum):
    """How a row differs; written by `classify`, read by reports, gates and repair."""

    MISSING = "missing"  # the source has the row, the target has not
    EXTRA = "extra"  # the target has a row that the source has not
    CHANGED = "changed"  # both have it, and values differ
    LOST_UPDATE = "lost_update"  # the target still holds an earlier state of the source's row
    PRECISION_OR_TYPE = "precision_or_type"  # the same value but for rounding, cutting, padding or spelling
    ORPHAN = "orphan"  # extra, and the row it refers to is missing too
    INVARIANT = "invariant"  # a statement of the playbook about whole tables does not hold

    @property
    def label(self) -> str:
        """The kind in words, for headings."""
        return {"lost_update": "lost update", "precision_or_type": "precision or type"}.get(self, str(self))

    @property
    def explanation(self) -> str:
        """One sentence for somebody who meets the kind for the first time."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    DifferenceKind.MISSING: "The source has this row; the target has not.",
    DifferenceKind.EXTRA: "The target has this row; the source has not.",
    DifferenceKind.CHANGED: "Both sides have this row, with different values.",
    DifferenceKind.LOST_UPDATE: "The target still holds an earlier state of this row: an update was lost.",
    DifferenceKind.PRECISION_OR_TYPE: "The values differ only by rounding, cutting, padding or spelling.",
    DifferenceKind.ORPHAN: "Only the target has this row, and the row it refers to is missing.",
    DifferenceKind.INVARIANT: "A statement of the playbook about whole tables does not hold.",
}


@dataclass(frozen=True, kw_only=True)
class FieldDifference:
    """One column in which two rows differ; None is NULL. `paths` are JSON paths inside a JSON value."""

    column: str
    source: str | None
    target: str | None
    paths: list[str] = field(default_factory=list)
    note: str = ""
    type: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One row that differs. A row that only one side has carries no fields."""

    table: str
    key: tuple[str, ...]
    kind: DifferenceKind
    fields: list[FieldDifference] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TableResult:
    """One projection's comparison; `truncated` differences were found beyond those kept."""

    projection: str
    source_table: str
    target_table: str
    rows_source: int
    rows_target: int
    differences: list[Difference] = field(default_factory=list)
    truncated: int = 0

    @property
    def rows(self) -> int:
        """Rows compared: those of the fuller side."""
        return max(self.rows_source, self.rows_target)

    @property
    def count(self) -> int:
        """All differences, kept or only counted."""
        return len(self.differences) + self.truncated

    @property
    def by_class(self) -> dict[str, int]:
        """How many of the kept differences are of each kind that occurs, in the order of DifferenceKind."""
        found = Counter(difference.kind for difference in self.differences)
        return {str(kind): found[kind] for kind in DifferenceKind if found[kind]}


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """One comparison of a context's two sides, in one pair of snapshots or more; `position` is the last one's."""

    context: str
    direction: str
    position: int
    started: float
    seconds: float
    tables: list[TableResult]
    version: int = VERSION
    redacted: bool = False
    snapshots: int = 1

    @property
    def rows(self) -> int:
        """Rows compared, over all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def differences(self) -> int:
        """Differences found, kept or only counted."""
        return sum(table.count for table in self.tables)

    @property
    def truncated(self) -> int:
        """Differences found beyond those kept."""
        return sum(table.truncated for table in self.tables)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.differences == 0

    @property
    def by_class(self) -> dict[str, int]:
        """How many of the kept differences are of each kind that occurs, in the order of DifferenceKind."""
        total: Counter[str] = Counter()
        for table in self.tables:
            total.update(table.by_class)
        return {str(kind): total[kind] for kind in DifferenceKind if total[kind]}

    def redact(self) -> Self:
        """The same report with the shape of each value in the value's place; itself if already so."""
        if self.redacted:
            return self
        return replace(self, redacted=True, tables=[_redact_table(table) for table in self.tables])

    def to_json(self, *, reveal: bool = False) -> dict[str, Any]:
        """The JSON form, keys in a stable order. What was redacted before cannot be revealed any more."""
        report = self if reveal else self.redact()
        return {
            "kind": str(Kind.VERIFY),
            "version": report.version,
            "context": report.context,
            "direction": report.direction,
            "position": report.position,
            "snapshots": report.snapshots,
            "started": report.started,
            "seconds": report.seconds,
            "redacted": report.redacted,
            "equal": report.equal,
            "rows": report.rows,
            "count": report.differences,
            "truncated": report.truncated,
            "by_class": report.by_class,
            "tables": [_table_to_json(table) for table in report.tables],
            "differences": [
                _difference_to_json(table.projection, difference)
                for table in report.tables
                for difference in table.differences
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the JSON form back.

        Raises:
            StrangleError: The document is of another version, or is no report.
        """
        version = document.get("version")
        if version != VERSION:
            raise StrangleError(
                f"a report of version {version!r} cannot be read, only of version {VERSION!r}; "
                "run strangle_verify again to have one"
            )
        try:
            return cls(
                context=document["context"],
                direction=document["direction"],
                position=document["position"],
                snapshots=document.get("snapshots", 1),
                started=document["started"],
                seconds=document["seconds"],
                redacted=document["redacted"],
                tables=[_table_from_json(table, document["differences"]) for table in document["tables"]],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StrangleError(f"not a verification report: {error!r}; run strangle_verify again") from error


def result_to_json(result: TableResult) -> dict[str, Any]:
    """One table's result by itself, redacted, as a run under way keeps it."""
    redacted = _redact_table(result)
    return {
        **_table_to_json(redacted),
        "differences": [_difference_to_json(result.projection, each) for each in redacted.differences],
    }


def result_from_json(document: Mapping[str, Any]) -> TableResult:
    """Read it back."""
    return _table_from_json(document, document["differences"])


def merge_results(results: Sequence[TableResult], keep: int) -> TableResult:
    """The results of one table's ranges as one, with `keep` differences at most."""
    found = [difference for result in results for difference in result.differences]
    return replace(
        results[0],
        rows_source=sum(result.rows_source for result in results),
        rows_target=sum(result.rows_target for result in results),
        differences=found[:keep],
        truncated=sum(result.truncated for result in results) + len(found[keep:]),
    )


def shares(report: VerificationReport, limit: int) -> list[int]:
    """How many differences of each table to show when `limit` may be shown: all of the small ones first."""
    wanted = [len(table.differences) for table in report.tables]
    given = [0] * len(wanted)
    remaining = limit
    for done, place in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[place] = min(wanted[place], remaining // (len(wanted) - done))
        remaining -= given[place]
    return given


def _redact_table(table: TableResult) -> TableResult:
    return replace(
        table,
        differences=[
            replace(difference, fields=[_redact_field(each) for each in difference.fields])
            for difference in table.differences
        ],
    )


def _redact_field(given: FieldDifference) -> FieldDifference:
    return replace(
        given,
        source=shape(given.source, given.type),
        target=shape(given.target, given.type),
        # A name that needs quoting is rather data (an e-mail address as a key) than structure.
        paths=[_QUOTED_SEGMENT.sub(lambda found: f'["{shape(found[1])}"]', path) for path in given.paths],
    )


def _table_to_json(table: TableResult) -> dict[str, Any]:
    return {
        "projection": table.projection,
        "source_table": table.source_table,
        "target_table": table.target_table,
        "rows_source": table.rows_source,
        "rows_target": table.rows_target,
        "count": table.count,
        "truncated": table.truncated,
        "by_class": table.by_class,
    }


def _difference_to_json(projection: str, difference: Difference) -> dict[str, Any]:
    return {
        "projection": projection,
        "table": difference.table,
        "key": list(difference.key),
        "class": str(difference.kind),
        "fields": [
            {
                "column": each.column,
                "type": each.type,
                "source": each.source,
                "target": each.target,
                "paths": list(each.paths),
                "note": each.note,
            }
            for each in difference.fields
        ],
    }


def _table_from_json(table: Mapping[str, Any], differences: list[Mapping[str, Any]]) -> TableResult:
    return TableResult(
        projection=table["projection"],
        source_table=table["source_table"],
        target_table=table["target_table"],
        rows_source=table["rows_source"],
        rows_target=table["rows_target"],
        truncated=table["truncated"],
        differences=[_difference_from_json(each) for each in differences if each["projection"] == table["projection"]],
    )


def _difference_from_json(document: Mapping[str, Any]) -> Difference:
    return Difference(
        table=document["table"],
        key=tuple(document["key"]),
        kind=DifferenceKind(document["class"]),
        fields=[FieldDifference(**each) for each in document["fields"]],
    )
