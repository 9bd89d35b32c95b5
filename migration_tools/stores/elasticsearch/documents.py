"""What an index holds of a replica: its mapping, and a row as a document and back.

A document has the columns, each with its value as JSON keeps it (see stores.json_values), which is what comparing
reads, and beside them `strangle`: a hash of the key, the key, and whether the row is there. What is searched is made
from the values: numbers, words, and whole texts; it never changes what is kept.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from migration_tools.errors import StoreError
from migration_tools.stores.canonical import Kind
from migration_tools.stores.json_values import from_json, to_json
from migration_tools.stores.ports import Column, Key, Shape, Values, VersionedRow

OURS = "strangle"
ID, LIVE = f"{OURS}.id", f"{OURS}.live"
NAME_BYTES = 255
# Lucene takes terms of up to 32,766 bytes and refuses the whole document for a longer one.
LONGEST_EXACT = 8_191

# Not a tokenizer of this pattern: whitespace's cuts words that are too long for Lucene.
SETTINGS = {
    "analysis": {
        "char_filter": {
            "strangle_words": {"type": "pattern_replace", "pattern": r"[^\p{L}\p{M}\p{N}]+", "replacement": " "}
        },
        "analyzer": {
            "strangle_words": {
                "type": "custom",
                "char_filter": ["strangle_words"],
                "tokenizer": "whitespace",
                "filter": ["lowercase"],
            }
        },
    }
}

EXACT = {"type": "keyword", "ignore_above": LONGEST_EXACT}
# NaN and infinity are no numbers there: they are kept, and not found by ranges.
NUMBER = {"type": "double", "ignore_malformed": True}
WORDS = {"type": "text", "analyzer": "strangle_words", "fields": {"exact": EXACT}}
_FIELDS: Mapping[Kind, dict[str, Any]] = {
    Kind.INTEGER: {"type": "long"},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.DECIMAL: NUMBER,
    Kind.SINGLE: NUMBER,
    Kind.DOUBLE: NUMBER,
    Kind.TEXT: WORDS,
    # As PostgreSQL prints them they sort as they are; dates of Elasticsearch have fewer years and no infinity.
    Kind.MOMENT: EXACT,
    Kind.TIMESTAMP: EXACT,
    Kind.DATE: EXACT,
    Kind.UUID: EXACT,
}


def index_of(into: str) -> str:
    """The index of a replica; what an index cannot be called by is written as +xx, byte by byte.

    Raises:
        StoreError: it begins with what an index cannot begin with, or is too long.
    """
    name = "".join(
        each if each.isascii() and (each.islower() or each.isdigit() or each in "-_.") else _hex(each) for each in into
    )
    if name[:1] in ("", "-", "_", ".", "+") or len(name) > NAME_BYTES:
        raise StoreError(
            f"{into!r} cannot be an index; let `into` begin with a small letter or a digit and be at most "
            f"{NAME_BYTES} bytes long"
        )
    return name


def mapping(shape: Shape) -> dict[str, Any]:
    """The mapping of a replica's index; binary columns are kept and not searched."""
    fields = {column.name: _FIELDS[column.kind] for column in shape.columns if column.kind in _FIELDS}
    ours = {"properties": {"id": {"type": "keyword"}, "live": {"type": "boolean"}}}
    return {"dynamic": False, "_meta": {"columns": columns(shape)}, "properties": {**fields, OURS: ours}}


def columns(shape: Shape) -> list[list[str]]:
    """The columns as the mapping remembers them."""
    return [[column.name, column.type] for column in shape.columns]


def term_field(column: Column) -> str | None:
    """The field of a column's whole values, for filters and facets; None when there is none."""
    if column.kind is Kind.TEXT:
        return f"{column.name}.exact"
    return column.name if column.kind in _FIELDS else None


def identity(key: Key) -> str:
    """The id of a row's document: ids have at most 512 bytes and may not be empty, keys may."""
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()


def document(shape: Shape, row: VersionedRow) -> dict[str, Any]:
    """A row as a document; one that is no more has no columns, so no search finds a value of it."""
    ours = {"id": identity(row.key), "key": list(row.key), "live": row.values is not None}
    if row.values is None:
        return {OURS: ours}
    values = {c.name: to_json(c, value) for c, value in zip(shape.columns, row.values, strict=True)}
    return {**values, OURS: ours}


def is_live(source: Mapping[str, Any]) -> bool:
    """Whether a document is a row, and not the end of one."""
    return source.get(OURS, {}).get("live") is not False


def values_of(shape: Shape, source: Mapping[str, Any]) -> Values:
    """The canonical values in a document."""
    return tuple(from_json(column, source.get(column.name)) for column in shape.columns)


def _hex(character: str) -> str:
    return "".join(f"+{byte:02x}" for byte in character.encode())
