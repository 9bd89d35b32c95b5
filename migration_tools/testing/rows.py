"""Rows of any model, filled at random by the types of its columns; what a column refers to is made first."""

import datetime as dt
import decimal
import random
import uuid
from typing import Any

from django.db import connections
from django.db.models import Field, ForeignKey, Model

WORDS = ("", "a", "Ünï ✓", "line\nline", "'quoted' \"twice\"", "  spaces  ")
LONGEST = 60


def make_row(model: type[Model], choose: random.Random, *, using: str = "default") -> Model:
    """Save a row and give it as it was written; columns that may be NULL sometimes are.

    Raises:
        NotImplementedError: a column has a type that no value is known for.
    """
    row = model(**_values(model, choose, using, ()))
    row.save(using=using)
    return row


def values_of(row: Model) -> dict[str, Any]:
    """Column → value, comparable: bytes whatever the driver gives for them."""
    found = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return {name: bytes(each) if isinstance(each, memoryview) else each for name, each in found.items()}


def change_row(row: Model, choose: random.Random) -> None:
    """Give every column that is no key another value, and save."""
    using = row._state.db or "default"
    for name, value in _values(type(row), choose, using, ()).items():
        field: Any = row._meta.get_field(name)
        if not field.primary_key and not field.is_relation:
            setattr(row, name, value)
    row.save()


def _values(model: type[Model], choose: random.Random, using: str, within: tuple[type[Model], ...]) -> dict[str, Any]:
    return {
        field.name: _value(field, choose, using, (*within, model))
        for field in model._meta.concrete_fields
        if not field.get_internal_type().endswith("AutoField")
    }


def _value(field: Any, choose: random.Random, using: str, within: tuple[type[Model], ...]) -> Any:
    if isinstance(field, ForeignKey):
        other: Any = field.remote_field.model
        if field.null and (other in within or choose.random() < 0.3):
            return None
        related = other(**_values(other, choose, using, within))
        related.save(using=using)
        return related
    if field.null and choose.random() < 0.2:
        return None
    if field.choices:
        return choose.choice([value for value, _ in field.flatchoices])
    return _plain(field, choose, using)


def _plain(field: "Field[Any, Any]", choose: random.Random, using: str) -> Any:
    kind = field.get_internal_type()
    moment = dt.datetime(2000, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=choose.randrange(10**15))
    number = choose.getrandbits(30)
    match kind:
        case "CharField" | "TextField":
            # A word and a number that makes it unique, as long as the column; keys stand in addresses.
            longest = min(field.max_length or LONGEST, LONGEST)
            return (f"{number:x}" + ("" if field.primary_key else choose.choice(WORDS).strip()))[:longest].strip()
        case "SlugField":
            return f"s-{number:x}"[: field.max_length]
        case "EmailField":
            return f"{number:x}@example.com"
        case "URLField":
            return f"https://example.com/{number:x}"
        case "BooleanField":
            return choose.random() < 0.5
        case "DecimalField":
            digits, places = field.max_digits, field.decimal_places  # type: ignore[attr-defined]
            # A context of its own: the default one rounds to 28 digits, and columns may have more.
            exact = decimal.Context(prec=max(digits, 1))
            return exact.create_decimal(choose.randrange(10**digits)).scaleb(-places, exact)
        case "FloatField":
            return choose.uniform(-1e6, 1e6)
        case "DateTimeField":
            return moment
        case "DateField":
            return moment.date()
        case "TimeField":
            return moment.time()
        case "DurationField":
            return dt.timedelta(microseconds=choose.randrange(10**14))
        case "UUIDField":
            return uuid.UUID(int=choose.getrandbits(128))
        case "JSONField":
            return {"word": choose.choice(WORDS), "list": [1, None, {"deep": True}]}
        case "BinaryField":
            return choose.randbytes(20)
        case "GenericIPAddressField" | "IPAddressField":
            return f"10.{choose.randrange(256)}.{choose.randrange(256)}.{choose.randrange(256)}"
    if kind.endswith("IntegerField"):
        low, high = connections[using].ops.integer_field_range(kind)
        return choose.randint(low, high) if low is not None and high is not None else number
    raise NotImplementedError(f"no value is known for a {kind}, as {field} is; make its rows by hand")
