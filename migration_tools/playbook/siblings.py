"""Projections that share a table: one source row in several tables, several source tables in one."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from django.db.models import F, Model, Value

from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.paths import own_field, path_of
from migration_tools.playbook.projection import Projection


def find_ambiguities(playbook: type[Playbook]) -> list[str]:
    """Projections of which nobody could say whose a row is, there or on the way back; one sentence each."""
    mistakes = []
    for one, other in combinations((*playbook.projections, *playbook.references), 2):
        if one.into == other.into:
            mistakes += _in_one_table(one, other)
    for one, other in combinations(playbook.projections, 2):
        if one.model == other.model:
            mistakes += _of_one_table(one, other)
    return mistakes


def _in_one_table(one: Projection, other: Projection) -> list[str]:
    """Note [several tables in one]. Each row of the target must say by a constant whose it is, and no two projections
    may make the same key: the constant is part of the key, or the rows have one source and filters that part them.
    """
    ours, theirs = constants(one), constants(other)
    apart = [name for name in ours if name in theirs and ours[name].value != theirs[name].value]
    what = f"two projections go into {one.into!r}"
    if not apart:
        return [f"{what} and their rows cannot be told apart; give each another Value() for the same column"]
    if set(one.columns) != set(other.columns) or set(one.key) != set(other.key):
        return [f"{what} and do not fill the same columns; map Value(None) where one has nothing"]
    if not any(name in one.key for name in apart):
        parted = one.filter is not None and other.filter is not None
        if one.model != other.model or one.key != other.key or not parted:
            return [
                f"{what} and may make the same key; let the column that tells them apart ({apart[0]!r}) be part of it"
            ]
    return []


def _of_one_table(one: Projection, other: Projection) -> list[str]:
    what = f"two projections take rows of {one.model!r}"
    if (one.filter is None) != (other.filter is None) and one.filter is not None:
        return [f"{what}; declare the one without a filter first, it makes the row on the way back"]
    if one.filter is None and set(one.key_paths.values()) != set(other.key_paths.values()):
        return [f"{what} by different keys, so that they cannot be joined on the way back; use one key"]
    return []


def turned(projection: Projection, model: type[Model]) -> dict[str, Any]:
    """Source fields → expressions over the target: what `reverse` says and the plain renames it leaves.

    Columns of a parent's table (multi-table inheritance) come back by the parent's own projection.
    """
    plain = {
        path_of(expression): F(target)
        for target, expression in projection.columns.items()
        if isinstance(expression, F) and own_field(model, path_of(expression))
    }
    return {**plain, **projection.reverse}


def joined_to(projection: Projection, others: Sequence[Projection]) -> Projection | None:
    """The earlier projection of the same rows that makes the row on the way back; None if this one does.

    Note [one row, several tables]. A source row that goes into several tables comes back as one: the first projection
    makes and ends it, the columns of the others are joined to it by the key. Projections with filters share the rows of
    the source table instead.
    """
    for other in others:
        if other is projection:
            return None
        if other.model == projection.model and other.filter is None:
            return other
    return None


def marks(projection: Projection, siblings: Sequence[Projection]) -> dict[str, Value]:
    """The constants by which a projection's rows are told from those of the others that go into the same table."""
    own = constants(projection)
    others = [constants(other) for other in siblings if other is not projection]
    return {
        name: mark
        for name, mark in own.items()
        if name in projection.key or any(name in other and other[name].value != mark.value for other in others)
    }


def constants(projection: Projection) -> dict[str, Value]:
    """Target columns that every row gets the same value for."""
    given = {**projection.key, **projection.columns}
    return {name: value for name, value in given.items() if type(value) is Value and value.value is not None}
