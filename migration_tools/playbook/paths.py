"""Which tables and columns an expression reads: what its denormalised columns depend on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, Model, Q
from django.db.models.expressions import Subquery


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One relation crossed by a field path.

    `table` is the table reached, `column` the one of its columns that identifies touched rows to the relation,
    `path` the field path whose value equals that column, `watched` the columns read there.
    """

    table: str
    column: str
    path: str
    watched: frozenset[str]


class UnreadablePath(Exception):
    """A path cannot be followed; the message is a sentence for the playbook's author."""


def source_model(name: str) -> type[Model]:
    """The model that a projection names: "app.Model", or the table behind a many-to-many field of it.

    Raises:
        LookupError, ValueError: there is none.
    """
    label, _, rest = name.partition(".")
    model_name, _, field = rest.partition(".")
    model = apps.get_model(label, model_name) if model_name else apps.get_model(name)
    if not field:
        return model
    through = getattr(getattr(model, field.removesuffix(".through"), None), "through", None)
    if not field.endswith(".through") or through is None:
        raise LookupError(f"{name!r} is no many-to-many field")
    found: type[Model] = through
    return found


def own_field(model: type[Model], path: str) -> bool:
    """Whether a plain field is a column of the model's own table that can be written."""
    try:
        field = model._meta.get_field(path)
    except FieldDoesNotExist:
        return False
    return (
        getattr(field, "column", None) is not None
        and field.model._meta.db_table == model._meta.db_table
        and not getattr(field, "generated", False)
    )


def column_of(model: type[Model], path: str) -> str:
    """The column of a plain field."""
    return str(getattr(model._meta.get_field(path), "column"))  # noqa: B009  (relations have none)


def path_of(reference: F) -> str:
    """The field path of an F, which its type stubs leave out."""
    return str(reference.name)  # type: ignore[attr-defined]


def fields_of(expression: Any) -> Iterator[str]:
    """Every field path inside an expression.

    Raises:
        UnreadablePath: the expression holds a subquery, whose tables cannot be watched.
    """
    if isinstance(expression, F):
        yield path_of(expression)
        return
    flatten = getattr(expression, "flatten", None)
    if flatten is None:
        return
    for part in flatten():
        if isinstance(part, Subquery):
            raise UnreadablePath("it holds a subquery; use field paths, so that changes in the other table are seen")
        if isinstance(part, F):
            yield path_of(part)


def filter_paths(condition: Q | None) -> Iterator[str]:
    """The field paths that a condition looks at, lookups included."""
    for child in condition.children if condition is not None else ():
        if isinstance(child, Q):
            yield from filter_paths(child)
        elif isinstance(child, tuple):
            yield str(child[0])


def hops(model: type[Model], path: str) -> list[Hop]:
    """The relations that `path` crosses, each with what it reads on the far side.

    Raises:
        UnreadablePath: a name is unknown, or a many-to-many or generic relation is crossed.
    """
    found: list[Hop] = []
    current: Any = model
    crossed: list[str] = []
    reverse = False
    for part in path.split("__"):
        try:
            field: Any = current._meta.pk if part == "pk" else current._meta.get_field(part)
        except FieldDoesNotExist as error:
            raise UnreadablePath(f"{path!r}: {error}") from error
        for step in _inherited(current, field):
            # Multi-table inheritance: the column is in a parent's table, whose changes must be watched.
            if found:
                found[-1] = replace(found[-1], watched=found[-1].watched | {step.column})
            parent: Any = step.related_model
            crossed.append(step.name)
            found.append(_hop(parent, parent._meta.pk.column, [*crossed[:-1], step.attname]))
            reverse = False
        crossed.append(part)
        reverse = field.is_relation and field.auto_created and not field.concrete
        if found:
            read = field.field.target_field.column if reverse else field.column
            found[-1] = replace(found[-1], watched=found[-1].watched | {read})
        if not field.is_relation:
            return found  # whatever follows are transforms of the value
        if field.many_to_many:
            raise UnreadablePath(f"{path!r} crosses a many-to-many relation; make a projection of its through table")
        related: Any = field.related_model
        if related is None or isinstance(related, str):
            raise UnreadablePath(f"{path!r} crosses a generic relation, which cannot be watched")
        if reverse:
            column, value = field.field.column, [*crossed[:-1], field.field.target_field.attname]
        elif field.column is None:
            # Tables joined by their keys, see playbook.turning: the far row may be absent, the near key is not.
            column = field.foreign_related_fields[0].column
            value = [*crossed[:-1], field.local_related_fields[0].attname]
        else:
            column, value = field.target_field.column, [*crossed, field.target_field.attname]
        found.append(_hop(related, column, value))
        current = related
    if found and not reverse:
        found.pop()  # the last part is the reference itself, a column on this side of it
    return found


def _hop(reached: Any, column: str, path: list[str]) -> Hop:
    return Hop(table=reached._meta.db_table, column=column, path="__".join(path), watched=frozenset({column}))


def _inherited(model: Any, field: Any) -> list[Any]:
    """The links from a model's table to the parent's table that holds the field; none for a field of its own."""
    if field.auto_created and not field.concrete:
        return []
    owner = field.model._meta.concrete_model
    if owner is model._meta.concrete_model or not issubclass(model, owner):
        return []
    return [step.join_field for step in model._meta.get_path_to_parent(owner)]
