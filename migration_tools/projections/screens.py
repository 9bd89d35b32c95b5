"""A view that is one screen: the fields of its serializer are its columns, and a check says where they part."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from django.apps import apps

from migration_tools.projections.columns import Gathered
from migration_tools.projections.declaration import Table
from migration_tools.projections.registry import read_models

S = TypeVar("S", bound=type)
_screens: dict[str, type[Any]] = {}


def screen(view: str) -> Callable[[S], S]:
    """Say that a serializer shows exactly the columns of a read model's view."""

    def mark(serializer: S) -> S:
        _screens[view] = serializer
        return serializer

    return mark


def find_differences() -> Iterator[tuple[type[Any], str]]:
    """(serializer, sentence) for each column without a field, and each field without a column."""
    tables = {table.name: table for model in read_models() for table in model.tables if not table.private}
    for view, serializer in _screens.items():
        if view not in tables:
            if apps.get_containing_app_config(serializer.__module__) is not None:
                yield (
                    serializer,
                    f"{serializer.__name__} shows {view!r}, which no read model makes; known are {sorted(tables)}",
                )
            continue
        fields = _fields(serializer)
        columns = {*tables[view].key, *tables[view].columns}
        for name in sorted(columns - set(fields)):
            yield serializer, f"{serializer.__name__} lacks the column {name!r} of {view!r}"
        for name in sorted(set(fields) - columns):
            yield serializer, f"{serializer.__name__} has the field {name!r}, which {view!r} has no column for"
        yield from _of_lists(serializer, tables[view], fields)


def _of_lists(serializer: type[Any], table: Table, fields: Mapping[str, Any]) -> Iterator[tuple[type[Any], str]]:
    for name, column in table.columns.items():
        child = getattr(fields.get(name), "child", None)
        if isinstance(column, Gathered) and child is not None and set(_fields(type(child))) != set(column.fields):
            yield (
                serializer,
                (
                    f"{type(child).__name__} has the fields {sorted(_fields(type(child)))}, but {table.name!r} gathers "
                    f"{sorted(column.fields)} in {name!r}"
                ),
            )


def _fields(serializer: type[Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(serializer, "_declared_fields", {})
    return {field.source or name: field for name, field in found.items()}
