"""The canonical text of values and the digests made from it: the same bytes in every engine, so the same hashes.

Note [canonical rows]. A value's canonical text is PostgreSQL's own under pinned settings, except that a float is its
IEEE bits in hex, since engines print floats differently. A row's text is each value as its length in characters, a
colon and the value, NULL as a dash: so neither NULL and '', nor ('ab', 'c') and ('a', 'bc') are alike. Its hash is the
first 128 bits of SHA-256, as two signed 64-bit numbers; a bucket is known by its count and both sums. The bucket comes
from the key's own hash. An engine that can computes all of this where the rows are; the conformance suite holds it to
these functions.
"""

import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from enum import StrEnum

RowHash = tuple[int, int]
Digests = dict[int, tuple[int, int, int]]

LARGEST_BUCKETS = 1 << 16

_DECIMAL = re.compile(r"numeric\((\d+),(\d+)\)\Z")
_KINDS = {
    "smallint": "integer",
    "integer": "integer",
    "bigint": "integer",
    "boolean": "boolean",
    "real": "single",
    "double precision": "double",
    "date": "date",
    "uuid": "uuid",
    "bytea": "bytes",
}


class Kind(StrEnum):
    """What a PostgreSQL type is to a store; whatever has no kind of its own is text, which is always exact."""

    INTEGER = "integer"
    BOOLEAN = "boolean"
    DECIMAL = "decimal"  # numeric(p, s); an unbounded numeric is text
    SINGLE = "single"
    DOUBLE = "double"
    MOMENT = "moment"  # timestamp with time zone
    TIMESTAMP = "timestamp"  # without
    DATE = "date"
    UUID = "uuid"
    BYTES = "bytes"
    TEXT = "text"


def kind_of(type_name: str) -> Kind:
    """The kind of a type as format_type spells it."""
    if type_name.startswith("timestamp") and not type_name.endswith("]"):
        return Kind.MOMENT if type_name.endswith("with time zone") else Kind.TIMESTAMP
    if decimal_size(type_name) is not None:
        return Kind.DECIMAL
    return Kind(_KINDS.get(type_name, "text"))


def decimal_size(type_name: str) -> tuple[int, int] | None:
    """(precision, scale) of a bounded numeric; None of anything else."""
    found = _DECIMAL.match(type_name)
    if found is None or int(found[2]) > int(found[1]):
        return None
    return int(found[1]), int(found[2])


def canonical(kind: Kind, text: str | None) -> str | None:
    """The canonical text of a value given as PostgreSQL's text."""
    if text is None or kind not in {Kind.SINGLE, Kind.DOUBLE}:
        return text
    if text == "NaN":
        return "nan"
    return struct.pack(">f" if kind is Kind.SINGLE else ">d", float(text)).hex()


def row_text(values: Iterable[str | None]) -> str:
    """Canonical values as one text that no other row has."""
    return "".join("-" if value is None else f"{len(value)}:{value}" for value in values)


def row_hash(values: Iterable[str | None]) -> RowHash:
    """128 bits of a row of canonical values."""
    digest = hashlib.sha256(row_text(values).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True), int.from_bytes(digest[8:16], "big", signed=True)


def bucket_of(key: Sequence[str], buckets: int) -> int:
    """The bucket of a key of canonical values; `buckets` is a power of two up to LARGEST_BUCKETS."""
    digest = hashlib.sha256(row_text(key).encode()).digest()
    return int.from_bytes(digest[:2], "big") & (buckets - 1)


def digest_rows(rows: Iterable[tuple[Sequence[str], Sequence[str | None]]], buckets: int) -> Digests:
    """Digests of (key, values), all canonical, for engines that cannot compute them."""
    found: Digests = {}
    for key, values in rows:
        bucket = bucket_of(key, buckets)
        first, second = row_hash(values)
        count, one, two = found.get(bucket, (0, 0, 0))
        found[bucket] = (count + 1, one + first, two + second)
    return found
