"""Values between PostgreSQL's text and Python, for mappings that need Python: exact, or the text itself.

Note [values in Python]. Drivers refuse infinity and years beyond 9999, and read a large JSON number as a float. Here a
date or time that Python cannot hold stays PostgreSQL's text, which may be given back; numbers inside JSON are int or
Decimal; NULL is None and JSON's null is JSON_NULL. Types that are not named here are their text, json among them, whose
spelling counts.
"""

import datetime as dt
import json
import re
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any
from uuid import UUID


class JsonNull:
    """JSON's own null, which is not SQL's NULL."""

    def __repr__(self) -> str:
        return "JSON_NULL"

    def __reduce__(self) -> str:
        return "JSON_NULL"


JSON_NULL = JsonNull()

Decoder = Callable[[str], Any]

# Python refuses to read or write longer integers.
_LONGEST_INTEGER = 4_000
_QUOTED = re.compile(r'[{},"\\ \t\n\r\v\f]')
_LENGTH = re.compile(r"\([^)]*\)")
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}"\\]+)|([{},])', re.DOTALL)


class Unfit(Exception):
    """A value that its column cannot hold; the message names types, never the value."""


@cache
def decoder(type_name: str) -> Decoder:
    """How a value of the type, spelled as format_type does, is read from its text."""
    plain = _LENGTH.sub("", type_name)
    if plain.endswith("[]"):
        return _array_decoder(decoder(plain.removesuffix("[]")))
    return _DECODERS.get(plain, str)


def encode(value: Any, type_name: str) -> str | None:
    """The value as PostgreSQL's text for a column of the type.

    Raises:
        Unfit: the column cannot hold what it is.
    """
    if value is None:
        return None
    plain = _LENGTH.sub("", type_name)
    if plain == "jsonb" or (plain == "json" and not isinstance(value, str)):
        return _sound(_json(value))
    if plain.endswith("[]") and isinstance(value, list | tuple):
        return _sound(_array(value, plain.removesuffix("[]")))
    return _scalar(value, plain)


def _scalar(value: Any, plain: str) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return _sound(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal | UUID):
        return str(value)
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return "\\x" + bytes(value).hex()
    if isinstance(value, dt.datetime):
        if value.tzinfo is None and plain == "timestamp with time zone":
            raise Unfit("a datetime without a time zone, for a column with one")
        if plain in ("date", "timestamp without time zone") and (value.tzinfo is not None or plain == "date"):
            raise Unfit(f"a datetime with more than {plain!r} holds")
        return value.isoformat(" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return f"{value.days} days {value.seconds}.{value.microseconds:06} seconds"
    raise Unfit(f"a {type(value).__name__} for a column of type {plain!r}")


def _sound(text: str) -> str:
    if "\0" in text:
        raise Unfit("a text with the character NUL, which PostgreSQL cannot store")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unfit("a text with half of a surrogate pair, which is no character") from None
    return text


def _array(items: list[Any] | tuple[Any, ...], element: str) -> str:
    parts = []
    for item in items:
        if isinstance(item, list | tuple) and element not in ("json", "jsonb"):
            parts.append(_array(item, element))
            continue
        text = encode(item, element)
        parts.append("NULL" if text is None else _item(text))
    return "{" + ",".join(parts) + "}"


def _item(text: str) -> str:
    """As PostgreSQL writes it: where the other side does not know the type, texts are what is compared."""
    if text and not _QUOTED.search(text) and text.upper() != "NULL":
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _array_decoder(element: Decoder) -> Decoder:
    def decode(text: str) -> Any:
        if not text.startswith("{"):
            return text  # its first subscript is not 1, which a list cannot say
        stack: list[list[Any]] = [[]]
        for quoted, bare, sign in (found.groups() for found in _ITEM.finditer(text)):
            if sign == "{":
                stack.append([])
            elif sign == "}":
                done = stack.pop()
                stack[-1].append(done)
            elif quoted is not None:
                stack[-1].append(element(re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)))
            elif bare is not None:
                stack[-1].append(None if bare == "NULL" else element(bare))
        return stack[0][0]

    return decode


def _json(value: Any) -> str:
    if value is None or value is JSON_NULL:
        return "null"
    if isinstance(value, Enum):
        return _json(value.value)
    if isinstance(value, str):
        if "\0" in value:
            raise Unfit("a text with the character NUL, which PostgreSQL cannot store")
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        text = str(value) if isinstance(value, int | Decimal) else repr(value)
        if text.lstrip("-")[:1].isdigit():
            return text
        raise Unfit("a number that JSON does not know")
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return "{" + ", ".join(f"{_json(key)}: {_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_json(item) for item in value) + "]"
    raise Unfit(f"a {type(value).__name__} inside JSON")


def _decode_json(text: str) -> Any:
    value = json.loads(text, parse_float=Decimal, parse_int=_integer)
    return JSON_NULL if value is None else value


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < _LONGEST_INTEGER else Decimal(text)


def _or_text(read: Decoder) -> Decoder:
    """What Python cannot hold stays the text it is."""

    def decode(text: str) -> Any:
        try:
            return read(text)
        except ValueError:
            return text

    return decode


_DECODERS: dict[str, Decoder] = {
    "smallint": int,
    "integer": int,
    "bigint": int,
    "numeric": Decimal,
    "real": float,
    "double precision": float,
    "boolean": lambda text: text in ("t", "true"),
    "uuid": UUID,
    "jsonb": _decode_json,
    "bytea": lambda text: bytes.fromhex(text[2:]),
    "date": _or_text(dt.date.fromisoformat),
    "timestamp without time zone": _or_text(dt.datetime.fromisoformat),
    "timestamp with time zone": _or_text(dt.datetime.fromisoformat),
    "time without time zone": _or_text(dt.time.fromisoformat),
}
