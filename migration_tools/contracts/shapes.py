"""JSON Schema of a dataclass: closed objects, one keyword set that the comparison of contracts understands."""

import dataclasses
import datetime as dt
import enum
import types
import typing
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from migration_tools.errors import ContractError

Schema = dict[str, Any]

PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Decimal: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.date: {"type": "string", "format": "date"},
}


def schema_of(kind: type) -> Schema:
    """The schema of a dataclass: fields with a default may be missing, others not; further properties are refused.

    `Annotated[str, {"maxLength": 3}]` adds keywords.

    Raises:
        ContractError: a field has a type that has no JSON form here.
    """
    return _object(kind, ())


def _object(kind: type, within: tuple[type, ...]) -> Schema:
    if not dataclasses.is_dataclass(kind):
        raise ContractError(f"contract {kind.__qualname__!r} is no dataclass; decorate it with @dataclass")
    if kind in within:
        raise ContractError(f"contract {kind.__qualname__!r} holds itself; give its depth an end")
    hints = typing.get_type_hints(kind, include_extras=True)
    properties, required = {}, []
    for item in dataclasses.fields(kind):
        where = f"{kind.__qualname__}.{item.name}"
        properties[item.name] = _schema(hints[item.name], where, (*within, kind))
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            required.append(item.name)
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(required),
        "additionalProperties": False,
    }


def _schema(hint: Any, where: str, within: tuple[type, ...]) -> Schema:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is None and hint in PLAIN:
        return dict(PLAIN[hint])
    if origin is Annotated:
        keywords: Schema = {}
        for extra in arguments[1:]:
            keywords |= extra
        return {**_schema(arguments[0], where, within), **keywords}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(each, where, within) for each in arguments]}
    if origin is list or (origin is tuple and arguments[1:] == (...,)):
        return {"type": "array", "items": _schema(arguments[0], where, within)}
    if origin is dict and arguments[0] is str:
        return {"type": "object", "additionalProperties": _schema(arguments[1], where, within)}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [member.value for member in hint]}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _object(hint, within)
    raise ContractError(
        f"{where} is {hint!r}, which has no JSON form; use str, int, float, bool, Decimal, UUID, datetime, date, "
        "an enum, a Literal, a dataclass, or list, tuple[X, ...], dict[str, X] and unions of them"
    )
