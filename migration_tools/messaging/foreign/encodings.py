"""From a foreign tool's JSON value to PostgreSQL's text of it; what cannot be told apart is refused, never guessed.

A connector that writes its schema says how each value is encoded. Without one, a number in a timestamp column may be
milliseconds or microseconds, a text in a numeric one a decimal or base64: ENCODINGS of the feed has to say.
"""

import base64
import binascii
import datetime as dt
import json
from decimal import Decimal
from typing import Any, Final

from migration_tools.conf import FOREIGN_ENCODINGS
from migration_tools.messaging.foreign import FieldSchema, UnusableChange
from migration_tools.stores.postgres.arrays import array_literal

MAXWELL: Final = {"timestamps": "text", "times": "text", "decimals": "text", "bytes": "base64"}
_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001  (a timestamp without time zone)
_TICKS: Final = {"milliseconds": 1_000, "microseconds": 1, "nanoseconds": 0}
_MOMENTS: Final = {
    "io.debezium.time.Timestamp": "milliseconds",
    "org.apache.kafka.connect.data.Timestamp": "milliseconds",
    "io.debezium.time.MicroTimestamp": "microseconds",
    "io.debezium.time.NanoTimestamp": "nanoseconds",
}
_TIMES: Final = {
    "io.debezium.time.Time": "milliseconds",
    "org.apache.kafka.connect.data.Time": "milliseconds",
    "io.debezium.time.MicroTime": "microseconds",
    "io.debezium.time.NanoTime": "nanoseconds",
}
_DATES: Final = {"io.debezium.time.Date", "org.apache.kafka.connect.data.Date"}
_AS_TEXT: Final = {
    "io.debezium.time.ZonedTimestamp",
    "io.debezium.time.ZonedTime",
    "io.debezium.time.IsoDate",
    "io.debezium.time.IsoTime",
    "io.debezium.time.IsoTimestamp",
    "io.debezium.time.Interval",
    "io.debezium.time.Year",
    "io.debezium.data.Json",
    "io.debezium.data.Xml",
    "io.debezium.data.Uuid",
    "io.debezium.data.Enum",
    "io.debezium.data.Ltree",
}
_DECIMAL, _VARIABLE = "org.apache.kafka.connect.data.Decimal", "io.debezium.data.VariableScaleDecimal"


def text_of(value: Any, schema: FieldSchema | None, type_name: str, encodings: dict[str, str]) -> str | None:
    """The value as text that PostgreSQL reads into `type_name`; None is NULL.

    Raises:
        UnusableChange: it cannot be told what the value means, or the encoding has lost a part of it.
    """
    if value is None:
        return None
    try:
        if schema is not None:
            return _by_schema(value, schema, type_name)
        return _by_type(value, type_name, encodings)
    except (ArithmeticError, ValueError, TypeError, KeyError, binascii.Error) as error:
        if isinstance(error, UnusableChange):
            raise
        raise UnusableChange(f"a value cannot be read into {type_name}: {type(error).__name__}") from error


def _by_schema(value: Any, schema: FieldSchema, type_name: str) -> str:
    name = schema.name
    if name in _DATES:
        return _date(value)
    if name in _MOMENTS:
        return _moment(value, _MOMENTS[name])
    if name in _TIMES:
        return _time(value, _TIMES[name])
    if name == _DECIMAL:
        return _decimal(value, int(schema.parameters["scale"]))
    if name == _VARIABLE:
        return _decimal(value["value"], int(value["scale"]))
    if name is None or name in _AS_TEXT:
        if schema.type == "bytes":
            return "\\x" + base64.b64decode(value, validate=True).hex()
        if schema.type in {"struct", "map"}:
            raise UnusableChange(f"a {schema.type} cannot be read into {type_name}")
        return _plain(value, type_name)
    remedy = {
        "io.debezium.time.MicroDuration": "set interval.handling.mode=string: a number of microseconds has lost months",
        "io.debezium.data.Bits": "leave the column out, or cast it at its source",
    }.get(name, "leave the column out, or write it as text at its source")
    raise UnusableChange(f"type {name} cannot be read into {type_name}; {remedy}")


def _by_type(value: Any, type_name: str, encodings: dict[str, str]) -> str:
    number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if type_name == "date" and number:
        return _date(value)
    if type_name.startswith("timestamp") and number:
        return _moment(value, _declared("timestamps", type_name, encodings, refused="text"))
    if type_name.startswith("time ") and number:
        return _time(value, _declared("times", type_name, encodings, refused="text"))
    if type_name.startswith("numeric") and isinstance(value, str):
        _declared("decimals", type_name, encodings)
        return value
    if type_name.startswith("numeric") and isinstance(value, dict):
        return _decimal(value["value"], int(value["scale"]))
    if type_name == "interval" and number:
        raise UnusableChange("an interval as a number has lost months; set interval.handling.mode=string")
    if type_name == "bytea":
        if _declared("bytes", type_name, encodings) == "base64":
            return "\\x" + base64.b64decode(value, validate=True).hex()
        return "\\x" + bytes.fromhex(value).hex()
    return _plain(value, type_name)


def _declared(what: str, type_name: str, encodings: dict[str, str], *, refused: str = "") -> str:
    found = encodings.get(what)
    if found is None or found == refused:
        raise UnusableChange(
            f"a message without its schema does not say how {type_name} is written; set ENCODINGS[{what!r}] of the "
            f"feed to one of {list(FOREIGN_ENCODINGS[what])} (decimals need decimal.handling.mode=string), or let the "
            "connector write schemas (schemas.enable=true)"
        )
    return found


def _plain(value: Any, type_name: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if type_name in {"json", "jsonb"}:
        # Both tools write a document as a text; only a text that was wrapped once is one.
        return value if isinstance(value, str) else _json(value)
    if isinstance(value, list) and type_name.endswith("[]"):
        return array_literal([None if each is None else _plain(each, type_name[:-2]) for each in value])
    if isinstance(value, list | dict):
        return _json(value)
    return format(value, "f") if isinstance(value, Decimal) and value.is_finite() else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=lambda number: float(number))


def _date(days: int) -> str:
    return (_EPOCH.date() + dt.timedelta(days=int(days))).isoformat()


def _microseconds(value: int, unit: str) -> int:
    if unit == "nanoseconds":
        whole, rest = divmod(int(value), 1_000)
        if rest:
            raise UnusableChange("a time has nanoseconds, which PostgreSQL cannot keep")
        return whole
    return int(value) * _TICKS[unit]


def _moment(value: int, unit: str) -> str:
    return (_EPOCH + dt.timedelta(microseconds=_microseconds(value, unit))).isoformat(sep=" ")


def _time(value: int, unit: str) -> str:
    if _microseconds(value, unit) == 86_400_000_000:
        return "24:00:00"
    return (_EPOCH + dt.timedelta(microseconds=_microseconds(value, unit))).time().isoformat()


def _decimal(value: str, scale: int) -> str:
    unscaled = int.from_bytes(base64.b64decode(value, validate=True), "big", signed=True)
    return _shifted(unscaled, scale)


def _shifted(unscaled: int, scale: int) -> str:
    """In whole numbers, since a Decimal of the default context is rounded."""
    if scale <= 0:
        return str(unscaled * 10**-scale)
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    return f"{'-' if unscaled < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"
