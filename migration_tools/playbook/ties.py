"""What ties two playbooks of one monolith together: references between their tables, and values that one copies."""

from collections.abc import Iterator

from django.db.models import Model

from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.paths import fields_of, hops, source_model
from migration_tools.playbook.projection import Projection


def ties(one: type[Playbook], other: type[Playbook]) -> list[str]:
    """Each tie in a clause, in both directions; none when the two can move at the same time."""
    if one.source != other.source:
        return []
    return sorted({*_towards(one, other), *_towards(other, one)})


def _towards(near: type[Playbook], far: type[Playbook]) -> Iterator[str]:
    moved = {_model(each)._meta.db_table for each in far.projections}
    for projection in near.projections:
        model = _model(projection)
        for field in model._meta.local_concrete_fields:
            reached = field.related_model
            if isinstance(reached, type) and reached._meta.db_table in moved:
                yield f"{model._meta.db_table}.{field.column} refers to {reached._meta.db_table}"
    for projection in (*near.projections, *near.references):
        for table in _read(projection) & moved:
            yield f"{near.context!r} copies values of {table} into {projection.into}"


def _read(projection: Projection) -> set[str]:
    """The tables whose values a projection's columns are made of."""
    model = _model(projection)
    crossed = {
        hop.table
        for expression in projection.columns.values()
        for path in fields_of(expression)
        for hop in hops(model, path)
    }
    return {model._meta.db_table, *crossed}


def _model(projection: Projection) -> type[Model]:
    return source_model(projection.model)
