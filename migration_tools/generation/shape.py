"""The tables of a context as its service will have them: the same columns, and no key that leads outside."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models as django_models
from django.db.models import ForeignKey, Model

from migration_tools.analysis.context_map import ContextMap, model_of_table
from migration_tools.errors import AnalysisError

KEPT = ("max_length", "max_digits", "decimal_places", "null", "blank", "unique", "primary_key")
# Types of Django's own whose column is another's: what the service gets in their place.
REPLACED = {"FileField": "CharField", "ImageField": "CharField", "FilePathField": "CharField"}
SIZED = {"CharField", "SlugField", "EmailField", "URLField", "FileField", "ImageField", "FilePathField", "TextField"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column. `code` is the field's declaration; `refers_to` names the model of the same context it leads to.

    `held`: the kind of a key's values. `withheld`: the service gets a constant in its place, since the value is a
    secret.
    """

    field: str
    source: str
    column: str
    kind: str
    options: tuple[tuple[str, Any], ...]
    refers_to: str = ""
    leads_outside: str = ""
    held: str = ""
    withheld: bool = False

    @property
    def code(self) -> str:
        """As models.py has it."""
        options = [f"{name}={value!r}" for name, value in self.options]
        if self.refers_to:
            related = ['related_name="+"', "on_delete=models.DO_NOTHING"]
            if self.column != f"{self.field}_id":
                related.append(f'db_column="{self.column}"')
            return f"models.{self.kind}({', '.join([chr(34) + self.refers_to + chr(34), *related, *options])})"
        return f"models.{self.kind}({', '.join(options)})"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One model of the service; `unique` has fields that together are."""

    name: str
    table: str
    source: str
    source_table: str
    columns: tuple[Column, ...]
    unique: tuple[tuple[str, ...], ...] = ()

    @property
    def key(self) -> Column:
        """The primary key."""
        return next(each for each in self.columns if dict(each.options).get("primary_key"))


def shapes_of(context: str, contexts: ContextMap, *, keep_names: bool = False) -> list[Shape]:
    """The models of a context's service, in the order of the monolith's.

    `keep_names`: tables are called as in the monolith, so that its own code can run on them.

    Raises:
        AnalysisError: there is no such context, it has no models, or a model has a key of several columns.
    """
    own = _models_of(context, contexts)
    names = {model: _class_name(model, own) for model in own}
    return [_shape(context, model, names[model], names, keep_names=keep_names) for model in own]


def copies_of(context: str, contexts: ContextMap, labels: Iterable[str], *, keep_names: bool = False) -> list[Shape]:
    """Models of other contexts of which the service keeps a copy; none of their keys is one in the service.

    Raises:
        AnalysisError: a label names no model, or one of the context itself.
    """
    own = _models_of(context, contexts)
    found = []
    for label in labels:
        try:
            model: type[Model] = apps.get_model(label)
        except (LookupError, ValueError) as error:
            raise AnalysisError(f"no model is called {label!r}; write app_label.Model, such as auth.User") from error
        if model in own:
            raise AnalysisError(f"{label} moves with {context!r}; only models of other contexts are copied")
        found.append(model)
    _refuse_composite(found)
    everything = [*own, *found]
    return [_shape(context, each, _class_name(each, everything), {}, keep_names=keep_names) for each in found]


def _models_of(context: str, contexts: ContextMap) -> list[type[Model]]:
    if context not in contexts.contexts:
        known = sorted(each.name for each in contexts.candidates)
        raise AnalysisError(f"no context is called {context!r}; those with tables are {known}")
    models = model_of_table()
    own = [models[table] for table in contexts.contexts[context].tables if table in models]
    if not own:
        raise AnalysisError(f"context {context!r} has no models to write anything from")
    _refuse_composite(own)
    return own


def _refuse_composite(models: list[type[Model]]) -> None:
    composite = [model._meta.label for model in models if len(model._meta.pk_fields) > 1]
    if composite:
        raise AnalysisError(f"{', '.join(composite)} have keys of several columns; write their projections by hand")


def _shape(context: str, model: type[Model], name: str, names: Mapping[type[Model], str], *, keep_names: bool) -> Shape:
    columns = tuple(_columns(model, names))
    strange = [f"{each.source} ({each.kind})" for each in columns if not hasattr(django_models, each.kind)]
    if strange:
        raise AnalysisError(
            f"{model._meta.label} has columns that django.db.models has no field for: {', '.join(strange)}; let their "
            "fields say by get_internal_type() which one is the same, or write this context's service by hand"
        )
    return Shape(
        name=name,
        table=model._meta.db_table if keep_names else f"{_slug(context)}_{name.lower()}",
        source=_source(model),
        source_table=model._meta.db_table,
        columns=columns,
        unique=tuple(_unique(model, names)),
    )


def _unique(model: type[Model], names: Mapping[type[Model], str]) -> Iterator[tuple[str, ...]]:
    """What the monolith's code relies on: unique_together, and constraints without a condition."""
    given = [*map(tuple, model._meta.unique_together)]
    given += [tuple(each.fields) for each in model._meta.total_unique_constraints if len(each.fields) > 1]
    for fields in dict.fromkeys(given):
        found: list[Any] = [model._meta.get_field(name) for name in fields]
        yield tuple(
            field.attname
            if isinstance(field, ForeignKey) and field.remote_field.model._meta.concrete_model not in names
            else field.name
            for field in found
        )


def _class_name(model: type[Model], own: list[type[Model]]) -> str:
    same = [each for each in own if each.__name__ == model.__name__]
    name = model.__name__ if len(same) == 1 else f"{model._meta.app_label.title()}{model.__name__}"
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"\W|_", name))


def _source(model: type[Model]) -> str:
    """As a projection names it: the table behind a many-to-many field by the field."""
    made_for: Any = model._meta.auto_created
    if not made_for:
        return str(model._meta.label)
    field = next(f for f in made_for._meta.local_many_to_many if f.remote_field.through is model)
    return f"{made_for._meta.label}.{field.name}.through"


def _columns(model: type[Model], names: Mapping[type[Model], str]) -> Iterator[Column]:
    for field in model._meta.local_concrete_fields:
        target: Any = field
        while isinstance(target, ForeignKey):
            target = target.target_field
        options = _options(field, target)
        if not isinstance(field, ForeignKey):
            yield Column(
                field=field.name,
                source=field.name,
                column=str(field.column),
                kind=_kind(field),
                options=options,
                withheld=issubclass(model, AbstractBaseUser) and field.name == "password",
            )
            continue
        other: Any = field.remote_field.model._meta.concrete_model
        common: dict[str, Any] = {"column": str(field.column), "source": field.attname}
        if other in names and field.target_field.primary_key:
            one = "OneToOneField" if field.unique else "ForeignKey"
            kept = tuple(each for each in options if each[0] in ("null", "blank", "primary_key"))
            yield Column(
                field=field.name,
                kind=one,
                options=kept,
                refers_to=names[other],
                held=_plain_kind(target),
                **common,
            )
        else:
            indexed = options if field.unique else (*options, ("db_index", True))
            yield Column(
                field=field.attname,
                kind=_plain_kind(target),
                options=indexed,
                leads_outside=other._meta.label,
                **common,
            )


def _options(field: Any, target: Any) -> tuple[tuple[str, Any], ...]:
    found: dict[str, Any] = {}
    for name in KEPT:
        value = getattr(target if name in ("max_length", "max_digits", "decimal_places") else field, name, None)
        if value and not (name == "max_length" and target.get_internal_type() not in SIZED):
            found[name] = value
    if found.get("primary_key"):
        found.pop("unique", None)
        found.pop("blank", None)
    if field.column != (field.attname if not isinstance(field, ForeignKey) else field.column):
        found["db_column"] = field.column
    return tuple(found.items())


def _kind(field: Any) -> str:
    """A field class of Django's own with the same column; identities stay, since the service makes keys too."""
    kind = str(field.get_internal_type())
    return REPLACED.get(kind, kind)


def _plain_kind(field: Any) -> str:
    """The same for a key of another table: the number without what makes it."""
    kind = _kind(field)
    return {"AutoField": "IntegerField", "SmallAutoField": "SmallIntegerField", "BigAutoField": "BigIntegerField"}.get(
        kind, kind
    )


def _slug(context: str) -> str:
    return re.sub(r"\W", "_", context)
