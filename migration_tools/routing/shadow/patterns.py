"""What may be kept of a request and its answers: patterns of paths, shapes of values, nothing of a person."""

import json
import re
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z_][A-Za-z_.-]{0,39}|v\d{1,2}")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_DIGITS = re.compile(r"[0-9T:.+\- Z]{1,40}")
_TOKEN_LENGTH = 24
_ID_DIGITS = 4
#: Everything that `shape` can give; a value that `revealed` gives is JSON, and no JSON looks like that but null.
_SHAPE = re.compile(
    r"null|boolean|integer of \d+ digits?|number with \d+ decimals?|empty text|uuid|text like [9T:.+\- Z]+"
    r"|text of \d+ characters?|list of \d+|object of \d+ keys?|object"
)
REVEALED_LENGTH = 200
LONGEST = 300


def route_pattern(target: str) -> str:
    """A request's target with values replaced: `/api/orders/17/?page=2` is `/api/orders/{id}/?page`."""
    parts = urlsplit(target)
    path = "/".join(_segment(unquote(part)) for part in parts.path.split("/"))
    names = sorted({key_name(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)})
    return (f"{path}?{'&'.join(names)}" if names else path)[:LONGEST]


def key_name(name: str) -> str:
    """A key of an object as a path may show it; one that looks like data rather than structure is not shown."""
    if not _KEY.fullmatch(name) or sum(char.isdigit() for char in name) >= _ID_DIGITS:
        return "{key}"
    return name


def shape(value: Any) -> str:
    """What may be told of a value: its type and size, of numbers and times written as text also the form."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return f"integer of {_plural(len(str(abs(value))), 'digit')}"
        case float() | Decimal():
            exponent = Decimal(value).as_tuple().exponent
            return f"number with {_plural(max(-exponent, 0) if isinstance(exponent, int) else 0, 'decimal')}"
        case str():
            return _shape_of_text(value)
        case list():
            return f"list of {len(value)}"
        case dict():
            return f"object of {_plural(len(value), 'key')}"
    return type(value).__name__


def revealed(value: Any) -> str:
    """The value itself, cut; only for somebody who asked for it."""
    return json.dumps(value, ensure_ascii=False, default=str)[:REVEALED_LENGTH]


def without_values(sample: str) -> str:
    """A stored sample's shape: itself if it is one, else the size of what `revealed` kept."""
    return sample if _SHAPE.fullmatch(sample) else f"text of {_plural(len(sample), 'character')}"


def _segment(segment: str) -> str:
    if segment.isdecimal():
        return "{id}"
    if _UUID.fullmatch(segment):
        return "{uuid}"
    if segment and (not _WORD.fullmatch(segment) or len(segment) >= _TOKEN_LENGTH):
        return "{value}"
    return segment


def _shape_of_text(text: str) -> str:
    if not text:
        return "empty text"
    if _UUID.fullmatch(text):
        return "uuid"
    if _DIGITS.fullmatch(text) and any(char.isdigit() for char in text):
        return f"text like {re.sub(r'[0-9]', '9', text)}"
    return f"text of {_plural(len(text), 'character')}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
