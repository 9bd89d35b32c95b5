"""Instances of a model that came from elsewhere: templates and serializers use them, nothing saves them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model, QuerySet

from migration_tools.errors import SeamError

M = TypeVar("M", bound=Model)


def remote_instance(
    model: type[M], values: Mapping[str, Any], *, related: Mapping[str, Sequence[Model]] | None = None
) -> M:
    """An instance with these field values; texts become what the field holds (dates, decimals, UUIDs).

    `related` are lists of instances by the name of a reverse relation, as `prefetch_related` would have filled it:
    `order.lines.all()` gives them without a query. Saving or deleting it raises.

    Raises:
        SeamError: a value is not one of the model's fields.
    """
    fields = {field.name: field for field in model._meta.concrete_fields}
    fields |= {field.attname: field for field in model._meta.concrete_fields}
    unknown = set(values) - set(fields)
    if unknown:
        raise SeamError(f"{model._meta.label} has no fields {sorted(unknown)}; it has {sorted(fields)}")
    made = model(
        **{name: value if isinstance(value, Model) else fields[name].to_python(value) for name, value in values.items()}
    )
    made._state.adding = False
    for verb in ("save", "delete"):
        setattr(made, verb, partial(_refuse, model._meta.label, verb))
    for name, instances in (related or {}).items():
        _fill(made, name, instances)
    return made


def plain(value: Any) -> Any:
    """What an adapter answered, as JSON holds it: instances as their fields and what is prefetched."""
    return json.loads(json.dumps(_plain(value), cls=DjangoJSONEncoder))


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        shown = {field.attname: getattr(value, field.attname) for field in value._meta.concrete_fields}
        for name, rows in getattr(value, "_prefetched_objects_cache", {}).items():
            shown[name] = _plain(list(rows))
        return shown
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, QuerySet | list | tuple | set):
        return [_plain(each) for each in value]
    return value


def _refuse(label: str, verb: str, *args: Any, **kwargs: Any) -> None:
    raise SeamError(f"this {label} came through a seam and cannot {verb}(); its owner writes it: call the seam")


def _fill(made: Model, name: str, instances: Iterable[Model]) -> None:
    relation = made._meta.get_field(name)
    back = getattr(relation, "field", None)
    rows = list(instances)
    for row in rows:
        if back is not None:
            setattr(row, back.name, made)
    query: Any = getattr(made, name).none()
    query._result_cache = rows
    query._prefetch_done = True
    made.__dict__.setdefault("_prefetched_objects_cache", {})[name] = query
