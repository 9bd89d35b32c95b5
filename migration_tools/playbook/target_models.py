"""Stand-in models of the target's tables, made from its catalogue, so that reverse mappings are ORM expressions too."""

import re
from collections.abc import Iterable
from typing import Any

from django.apps.registry import Apps
from django.db import models

from migration_tools.stores.postgres import Connection
from migration_tools.stores.postgres.catalog import Table, read_table

_SIMPLE: "dict[str, type[models.Field[Any, Any]]]" = {
    "bigint": models.BigIntegerField,
    "integer": models.IntegerField,
    "smallint": models.SmallIntegerField,
    "boolean": models.BooleanField,
    "uuid": models.UUIDField,
    "jsonb": models.JSONField,
    "date": models.DateField,
    "timestamp with time zone": models.DateTimeField,
    "time without time zone": models.TimeField,
    "interval": models.DurationField,
    "double precision": models.FloatField,
    "real": models.FloatField,
    "bytea": models.BinaryField,
}


def make_models(conn: Connection, tables: Iterable[str]) -> dict[str, type[models.Model]]:
    """One unmanaged model per table, and per table they refer to; a reference loses its column's `_id`.

    Tables that do not exist are left out.
    """
    shapes: dict[str, Table] = {}
    waiting = list(tables)
    while waiting:
        name = waiting.pop()
        shape = None if name in shapes else read_table(conn, name)
        if shape is not None:
            shapes[name] = shape
            waiting += [reference.target for reference in shape.references]
    registry = Apps()
    return {name: _make(shape, shapes, registry) for name, shape in shapes.items()}


def _make(shape: Table, shapes: dict[str, Table], registry: Apps) -> type[models.Model]:
    meta = type(
        "Meta",
        (),
        {"apps": registry, "app_label": "strangle_target", "managed": False, "db_table": shape.name},
    )
    attributes: dict[str, Any] = {"__module__": __name__, "Meta": meta}
    references = {r.columns[0]: r for r in shape.references if len(r.columns) == 1 and r.target in shapes}
    for column in shape.columns.values():
        single_key = shape.key == (column.name,)
        reference = references.get(column.name)
        if reference is not None and not single_key:
            name = column.name.removesuffix("_id")
            attributes[name] = models.ForeignKey(
                _class_name(reference.target),
                models.DO_NOTHING,
                to_field=reference.target_columns[0],
                db_column=column.name,
                related_name="+",
                null=True,
            )
        else:
            unique = any(
                column.name in r.target_columns
                for other in shapes.values()
                for r in other.references
                if r.target == shape.name
            )
            attributes[column.name] = _field(column.type, primary_key=single_key, unique=unique and not single_key)
    if len(shape.key) > 1:
        attributes["pk"] = models.CompositePrimaryKey(
            *(name.removesuffix("_id") if name in references else name for name in shape.key)
        )
    return type(_class_name(shape.name), (models.Model,), attributes)


def _class_name(table: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"\W|_", table)) or "Table"


def _field(type_name: str, **options: Any) -> "models.Field[Any, Any]":
    numeric = re.fullmatch(r"numeric(?:\((\d+),(\d+)\))?", type_name)
    if numeric:
        return models.DecimalField(max_digits=int(numeric[1] or 38), decimal_places=int(numeric[2] or 10), **options)
    return _SIMPLE.get(type_name, models.TextField)(**options)
