"""How changes of one row merge: a pure function whose result depends on which changes came, never on their order.

Note [a row is a join]. Each rule is commutative, associative and idempotent: the newest position of one source, the
furthest step, the largest value, "seen" and "gone" once and for ever. So a row is the same after any order of arrival,
with duplicates, after a replay from any position, and in a rebuild that runs beside it. What depends on other rows
(copies, lists, counts, sums) is computed from merged rows, and so it is the same too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from migration_tools.errors import StrangleError
from migration_tools.projections.columns import TYPES, Column, Largest, Latest, Steps
from migration_tools.projections.declaration import Table


@dataclass(frozen=True)
class Row:
    """A row as merged so far: values, the position that said each Latest one, and whether it appeared and ended."""

    values: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    seen: bool = False
    gone: bool = False

    @property
    def present(self) -> bool:
        """Whether readers see it."""
        return self.seen and not self.gone


class WrongValue(StrangleError):
    """An event says something that its read model's table cannot hold; the message holds no value."""


def put(table: Table, row: Row, values: Mapping[str, Any], *, stream: str, position: int, erases: bool) -> Row:
    """Merge what an event says into a row; `erases` is whether a row of this table that is gone holds nothing.

    Raises:
        WrongValue: an unknown column, one of another source, or a value that is not of its type.
    """
    if row.gone and erases:
        return row
    merged, versions = dict(row.values), dict(row.versions)
    for name, value in values.items():
        column = table.columns.get(name)
        known = converted(table, name, column, value)
        match column:
            case Latest():
                source = column.source or table.source
                if source != stream:
                    raise WrongValue(
                        f"column {name!r} of {table.name!r} has the source {source!r}, but an event of "
                        f"{stream!r} says it; give it one source, or make it Largest or Steps"
                    )
                if position > versions.get(name, -1):
                    merged[name], versions[name] = known, position
            case Steps():
                merged[name] = _further(column, table, name, merged.get(name), known)
            case Largest():
                merged[name] = known if merged.get(name) is None else max(merged[name], known or merged[name])
            case _:
                raise WrongValue(f"column {name!r} of {table.name!r} is derived; no event can say it")
    known_values = {name: value for name, value in merged.items() if value is not None}
    return replace(row, values=known_values, versions=versions, seen=row.seen or stream == table.source)


def gone(row: Row, *, erases: bool) -> Row:
    """End a row; with `erases` nothing of it stays but that it was."""
    return Row(gone=True, seen=row.seen) if erases else replace(row, gone=True)


def converted(table: Table, name: str, column: Column | None, value: Any) -> Any:
    """A value as its column's type has it; None stays None.

    Raises:
        WrongValue: it is not of that type, or there is no such column.
    """
    if column is None:
        raise WrongValue(f"table {table.name!r} has no column {name!r}; it has {sorted(table.columns)}")
    if value is None or not isinstance(column, Latest | Steps | Largest):
        return value
    return typed(table, name, column.type, value)


def typed(table: Table, name: str, kind: str, value: Any) -> Any:
    """A value as a type has it.

    Raises:
        WrongValue: it is not of that type.
    """
    try:
        return TYPES[kind](value)
    except (ValueError, TypeError, ArithmeticError):
        raise WrongValue(
            f"column {name!r} of {table.name!r} is {kind}, and a {type(value).__name__} that it cannot be was said"
        ) from None


def _further(column: Steps, table: Table, name: str, held: str | None, said: str | None) -> str | None:
    for step in (held, said):
        if step is not None and step not in column.steps:
            raise WrongValue(f"column {name!r} of {table.name!r} has the steps {column.steps}, not what was said")
    if held is None or said is None:
        return held or said
    return max(held, said, key=column.steps.index)
