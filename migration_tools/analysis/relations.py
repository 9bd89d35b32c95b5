"""What models say of each other across contexts: keys, cascades, many-to-many, inheritance, constraints."""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db.models import Field, ForeignKey, ManyToManyField, Model, OneToOneField
from django.db.models.constraints import BaseConstraint

from migration_tools.analysis.context_map import ContextMap, is_own
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.locations import place_of, place_of_field

# What makes the database, or Django in one transaction, change rows of the other context when one is deleted.
CHANGES_ON_DELETE = {"CASCADE", "SET_NULL", "SET_DEFAULT", "SET"}


def find_relations(contexts: ContextMap) -> Iterator[Finding]:
    """SFA101 to SFA107, from every installed model."""
    for config in apps.get_app_configs():
        if is_own(config):
            continue
        for model in config.get_models(include_auto_created=False):
            if not model._meta.proxy and not model._meta.swapped:
                yield from _of_model(model, contexts)


def _of_model(model: type[Model], contexts: ContextMap) -> Iterator[Finding]:
    here = contexts.of_model(model)
    if here is None:
        return
    for field in model._meta.local_fields:
        if isinstance(field, ForeignKey):
            yield from _of_foreign_key(model, field, here, contexts)
    for many in model._meta.local_many_to_many:
        yield from _of_many(model, many, here, contexts)
    for private in model._meta.private_fields:
        if type(private).__name__ == "GenericForeignKey":
            yield from _of_generic(model, private, here, contexts)
    for constraint in model._meta.constraints:
        yield from _of_constraint(model, constraint, here, contexts)
    for together in model._meta.unique_together:
        yield from _of_columns(model, tuple(together), here, contexts, what="unique_together")


def _of_foreign_key(model: type[Model], field: Any, here: str, contexts: ContextMap) -> Iterator[Finding]:
    other = field.remote_field.model
    there = contexts.of_model(other)
    if there is None or there == here:
        return
    on_delete = getattr(field.remote_field.on_delete, "__name__", "SET")
    said: dict[str, Any] = {
        "source": here,
        "target": there,
        "place": place_of_field(model, field.name),
        "tables": (model._meta.db_table, other._meta.db_table),
    }
    detail = {
        "column": field.column,
        "field": field.name,
        "model": model._meta.label,
        "other": other._meta.label,
        "on_delete": on_delete,
        "key": field.column,
    }
    name = f"{model._meta.label}.{field.name}"
    if field.remote_field.parent_link:
        yield Finding(
            rule="SFA106", message=f"{model._meta.label} inherits from {other._meta.label}", detail=detail, **said
        )
        return
    one = isinstance(field, OneToOneField)
    yield Finding(
        rule="SFA103" if one else "SFA101",
        message=f"{name} is a {'one-to-one' if one else 'foreign key'} to {other._meta.label} ({on_delete})",
        detail=detail,
        **said,
    )
    if on_delete in CHANGES_ON_DELETE:
        # The deletion is of the other context's row; what it changes is ours.
        yield Finding(
            rule="SFA102",
            message=f"deleting a {other._meta.label} changes {model._meta.label} in the same transaction ({on_delete})",
            detail=detail,
            **said,
        )


def _of_many(model: type[Model], field: Any, here: str, contexts: ContextMap) -> Iterator[Finding]:
    if not isinstance(field, ManyToManyField):
        return
    other = field.remote_field.model
    through: Any = field.remote_field.through
    there = contexts.of_model(other)
    if there is None or there == here:
        return
    yield Finding(
        rule="SFA104",
        source=here,
        target=there,
        message=f"{model._meta.label}.{field.name} is many-to-many with {other._meta.label}",
        place=place_of_field(model, field.name),
        tables=(model._meta.db_table, through._meta.db_table, other._meta.db_table),
        detail={"field": field.name, "model": model._meta.label, "other": other._meta.label, "key": field.name},
    )


def _of_generic(model: type[Model], field: Any, here: str, contexts: ContextMap) -> Iterator[Finding]:
    """A generic key may lead anywhere; it is told once for each context whose models point back at it."""
    told = set()
    for other in apps.get_models():
        there = contexts.of_model(other)
        back = any(
            type(each).__name__ == "GenericRelation" and getattr(each, "related_model", None) is model
            for each in other._meta.private_fields
        )
        if back and there is not None and there != here and there not in told:
            told.add(there)
            yield Finding(
                rule="SFA105",
                source=here,
                target=there,
                message=f"{model._meta.label}.{field.name} is a generic foreign key, used by {other._meta.label}",
                place=place_of_field(model, field.name),
                tables=(model._meta.db_table, other._meta.db_table),
                detail={"field": field.name, "key": field.name},
            )
    content_types = contexts.of_table("django_content_type")
    if not told and content_types is not None and content_types != here:
        yield Finding(
            rule="SFA105",
            source=here,
            target=content_types,
            message=f"{model._meta.label}.{field.name} is a generic foreign key, and may lead into any context",
            place=place_of_field(model, field.name),
            tables=(model._meta.db_table, "django_content_type"),
            detail={"field": field.name, "key": field.name},
        )


def _of_constraint(
    model: type[Model], constraint: BaseConstraint, here: str, contexts: ContextMap
) -> Iterator[Finding]:
    names = {*getattr(constraint, "fields", ())}
    condition = getattr(constraint, "condition", None)
    if condition is not None:
        names |= {name for name, _ in _leaves(condition)}
    yield from _of_columns(model, tuple(sorted(names)), here, contexts, what=constraint.name, place=constraint)


def _leaves(condition: Any) -> Iterator[tuple[str, Any]]:
    for child in getattr(condition, "children", ()):
        if isinstance(child, tuple):
            yield child[0].partition("__")[0], child[1]
        else:
            yield from _leaves(child)


def _of_columns(
    model: type[Model], names: tuple[str, ...], here: str, contexts: ContextMap, *, what: str, place: Any = None
) -> Iterator[Finding]:
    fields = {field.name: field for field in model._meta.local_fields}
    for name in names:
        field: Field[Any, Any] | None = fields.get(name)
        if not isinstance(field, ForeignKey) or len(names) < 2:
            continue
        there = contexts.of_model(field.remote_field.model)
        if there is not None and there != here:
            yield Finding(
                rule="SFA107",
                source=here,
                target=there,
                message=f"{what} of {model._meta.label} holds {field.name}, a key of {there}, unique or checked",
                place=place_of_field(model, name) if place is None else place_of(model),
                tables=(model._meta.db_table, field.remote_field.model._meta.db_table),
                detail={"column": field.column, "constraint": what, "key": f"{what}:{name}"},
            )
