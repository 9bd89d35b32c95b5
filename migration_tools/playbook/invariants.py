"""What a playbook's author states of whole tables, beside the rows: checked in the snapshots of a verification."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db.models import F, Q

from migration_tools.playbook.paths import UnreadablePath, fields_of, filter_paths, hops
from migration_tools.playbook.projection import Projection


@dataclass(frozen=True)
class NoOrphans:
    """Every row of the target table finds the rows that it refers to; NULL refers to nothing.

    Without `columns`: by every foreign key that the target database declares. With them: `references` is
    "table.column", one for each, for references that the database does not enforce.
    """

    table: str
    columns: Sequence[str] = ()
    references: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The statement, short."""
        by = f" by {', '.join(self.columns)}" if self.columns else ""
        return f"no orphans in {self.table}{by}"


@dataclass(frozen=True)
class Unique:
    """No two rows of the target table have the same values in these columns; NULLs are never the same."""

    table: str
    columns: Sequence[str]

    @property
    def name(self) -> str:
        """The statement, short."""
        return f"{self.table} is unique by {', '.join(self.columns)}"


@dataclass(frozen=True)
class SumEqual:
    """A sum over the mapped source rows equals one over the target table.

    `source` is a field path or expression over the projection's model, `target` one over the target table's columns.
    Sums are exact where the expressions are: keep floats out, and mind that integers divide without a rest.
    """

    table: str
    source: Any = field(kw_only=True)
    target: Any = field(kw_only=True)

    @property
    def name(self) -> str:
        """The statement, short."""
        return f"sum of {_spelled(self.source)} equals {self.table}: {_spelled(self.target)}"


@dataclass(frozen=True)
class CountEqual:
    """As many mapped source rows meet `source` as rows of the target table meet `target`; both are Q, None is all."""

    table: str
    source: Q | None = field(default=None, kw_only=True)
    target: Q | None = field(default=None, kw_only=True)

    @property
    def name(self) -> str:
        """The statement, short."""
        return f"count of {self.table} where {self.target or 'all'} equals the source's where {self.source or 'all'}"


Invariant = NoOrphans | Unique | SumEqual | CountEqual


def find_invariant_mistakes(declared: Sequence[object], of: Sequence[Projection]) -> list[str]:
    """What can be seen wrong without a database with the invariants of these projections, one sentence each."""
    projections = {projection.into: projection for projection in of}
    mistakes = []
    names: list[str] = []
    for each in declared:
        if not isinstance(each, Invariant):
            mistakes.append(f"invariant {each!r} is none; use NoOrphans, Unique, SumEqual or CountEqual")
            continue
        mistakes += [f"invariant {each.name!r}: {text}" for text in _mistakes(each, projections)]
        names.append(each.name)
    return mistakes + [f"invariant {n!r} is declared twice" for n in dict.fromkeys(names) if names.count(n) > 1]


def as_expression(value: Any) -> Any:
    """A field path as the expression it stands for."""
    return F(value) if isinstance(value, str) else value


def _mistakes(each: Invariant, projections: Mapping[str, Projection]) -> Iterator[str]:
    projection = projections.get(each.table)
    if projection is None:
        near = difflib.get_close_matches(each.table, projections, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {sorted(projections)}"
        yield f"no projection goes into {each.table!r}; {hint}"
        return
    match each:
        case NoOrphans() if len(each.columns) != len(each.references):
            yield "it names columns without what they refer to; give one 'table.column' in references for each"
        case NoOrphans():
            yield from (f"{name!r} is not 'table.column'" for name in each.references if name.count(".") != 1)
            if len({name.partition(".")[0] for name in each.references}) > 1:
                yield "its columns refer to several tables; make it one invariant for each"
        case Unique() if not each.columns:
            yield "it names no columns"
        case SumEqual():
            yield from _path_mistakes(projection, lambda: fields_of(as_expression(each.source)))
        case CountEqual():
            yield from _path_mistakes(projection, lambda: filter_paths(each.source))


def _path_mistakes(projection: Projection, paths: Any) -> Iterator[str]:
    try:
        model = apps.get_model(projection.model)
        for path in paths():
            hops(model, path)
    except UnreadablePath as error:
        yield f"source: {error}"
    except (LookupError, ValueError):
        return  # said of the projection itself


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
