"""Mistakes that can be seen in a playbook without a database, and in its turning round."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from django.conf import settings as django_settings
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model, Value

from migration_tools.conf import settings
from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.invariants import find_invariant_mistakes
from migration_tools.playbook.paths import (
    UnreadablePath,
    column_of,
    fields_of,
    filter_paths,
    hops,
    own_field,
    source_model,
)
from migration_tools.playbook.projection import Projection
from migration_tools.playbook.replicas import find_replica_mistakes
from migration_tools.playbook.siblings import find_ambiguities, turned
from migration_tools.playbook.transform import Transform, inputs_without_way_back, mistakes_of

if TYPE_CHECKING:
    # At run time a check must do without psycopg 3: many monoliths still have psycopg2.
    from migration_tools.stores.postgres.catalog import Column, Table


def find_static_mistakes(playbook: type[Playbook]) -> list[str]:
    """Everything wrong with the declaration by itself, one sentence each."""
    mistakes = []
    databases = django_settings.DATABASES
    for role in ("source", "target"):
        alias = getattr(playbook, role)
        if not alias:
            mistakes.append(f"it names no {role} database; set {role} = 'alias'")
        elif alias not in databases:
            mistakes.append(
                f"its {role} database {alias!r} is not in settings.DATABASES, which has {sorted(databases)}"
            )
    if not playbook.projections:
        mistakes.append("it has no projections, so there is nothing to move")
    mistakes += find_ambiguities(playbook)
    projections = (*playbook.projections, *playbook.references)
    for projection in projections:
        mistakes += _projection_mistakes(projection)
    mistakes += find_invariant_mistakes(playbook.invariants, projections)
    return mistakes + find_replica_mistakes(playbook.replicas, projections) + _route_mistakes(playbook)


def _projection_mistakes(projection: Projection) -> list[str]:
    where = repr(projection)
    try:
        model = source_model(projection.model)
    except (LookupError, ValueError):
        return [
            f"{where}: there is no model {projection.model!r}; write 'app_label.Model', or "
            "'app_label.Model.field.through' for the table behind a many-to-many field"
        ]
    mistakes = []
    if not projection.key:
        mistakes.append(f"{where}: it has no key; map the target's key to the model's, key={{'id': 'id'}}")
    mistakes += [f"{where}: {text}" for text in _key_mistakes(projection, model)]
    mistakes += [
        f"{where}: column {name!r} is of the key, which stays as it is; leave it out of columns"
        for name in projection.columns
        if name in projection.key
    ]
    for target, expression in projection.columns.items():
        mistakes += [f"{where}: column {target!r}: {text}" for text in _expression_mistakes(model, expression)]
    for path in filter_paths(projection.filter):
        try:
            if hops(model, path):
                mistakes.append(
                    f"{where}: filter {path!r} joins another table, whose changes are not seen; filter by own columns"
                )
        except UnreadablePath as error:
            mistakes.append(f"{where}: filter: {error}")
    for name in projection.reverse:
        try:
            model._meta.get_field(name)
        except FieldDoesNotExist as error:
            mistakes.append(f"{where}: reverse of {name!r}: {error}")
    return mistakes


def _key_mistakes(projection: Projection, model: type[Model]) -> list[str]:
    mistakes = []
    for target, part in projection.key.items():
        if not isinstance(part, str):
            if not isinstance(part, Value) or not isinstance(part.value, str | int):
                what = "no field: a function must not change a key; map the field itself"
                plain = "neither a field nor Value() of a text or an integer"
                mistakes.append(f"key {target!r} is {what if isinstance(part, Transform) else plain}")
            continue
        try:
            field = model._meta.get_field(part)
        except FieldDoesNotExist as error:
            mistakes.append(f"key {target!r}: {error}")
            continue
        if not getattr(field, "concrete", False):
            mistakes.append(f"key {target!r} is mapped to {part!r}, which is no column")
        elif field.model._meta.db_table != model._meta.db_table:
            mistakes.append(
                f"key {target!r} is mapped to {part!r}, a column of the parent {field.model._meta.label}; map the "
                f"link, {model._meta.pk.attname!r}"
            )
    if not projection.key_paths and projection.key:
        mistakes.append("its key holds constants only; map the model's key too")
    return mistakes


def _expression_mistakes(model: type[Model], expression: object) -> list[str]:
    try:
        for path in fields_of(expression):
            hops(model, path)
    except UnreadablePath as error:
        return [str(error)]
    return list(mistakes_of(expression))


def _route_mistakes(playbook: type[Playbook]) -> list[str]:
    mistakes = []
    paths = [route.path for route in playbook.routes]
    upstreams = settings().UPSTREAMS
    for route in playbook.routes:
        if not route.path.startswith("/"):
            mistakes.append(f"route {route.path!r} must begin with '/'")
        if upstreams and route.service not in upstreams:
            mistakes.append(
                f"route {route.path!r} goes to {route.service!r}, which UPSTREAMS does not name: {sorted(upstreams)}"
            )
    mistakes += [f"route {path!r} is declared twice" for path in dict.fromkeys(paths) if paths.count(path) > 1]
    services = {route.service for route in playbook.routes}
    if len(services) > 1:
        mistakes.append(f"its routes go to several services {sorted(services)}; a context has one")
    return mistakes


def check_turned(
    projection: Projection,
    joined: Sequence[Projection],
    model: type[Model],
    stand_ins: Mapping[str, type[Model]],
    source: "Table",
) -> list[str]:
    """Mistakes of the way back: unknown target columns, and source columns that would be left without a value.

    `joined` are the projections whose columns come back with this one's rows.
    """
    where = repr(projection)
    mistakes = []
    covered = [column_of(model, path) for path in projection.key_paths.values()]
    for each in (projection, *joined):
        for name, expression in turned(each, model).items():
            stand_in = stand_ins.get(each.into)
            if stand_in is None:
                continue  # its own mistake names the table
            mistakes += [
                f"{each!r}: reverse of {name!r}: {text}" for text in _expression_mistakes(stand_in, expression)
            ]
            if not own_field(model, name):
                mistakes.append(
                    f"{each!r}: reverse of {name!r}: it is no column of {source.name!r} that can be written"
                )
                continue
            covered.append(column_of(model, name))
            if isinstance(expression, Transform) and any(covered[-1] in r.columns for r in source.references):
                mistakes.append(f"{each!r}: reverse of {name!r}: it is a reference, which a Transform cannot make")
        mistakes += [
            f"{each!r}: column {column!r} is made from {name!r}, which has no way back; add reverse={{{name!r}: …}}, "
            "or Transform(…, lossy=True) if a rollback may leave it as it was"
            for column, name in inputs_without_way_back(each, turned(each, model))
        ]
    for column in uncovered(source, covered):
        mistakes.append(
            f"{where}: source column {column.name!r} has no way back; add reverse={{{column.name!r}: …}} so that "
            "a rollback can write it"
        )
    return mistakes


def uncovered(receiver: "Table", columns: Iterable[str]) -> "list[Column]":
    """Columns of the receiving table that must have a value and get none."""
    given = set(columns)
    return [
        column
        for column in receiver.columns.values()
        if column.required and not column.has_default and not column.generated and column.name not in given
    ]
