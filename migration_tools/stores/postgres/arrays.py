"""Send columns of texts as PostgreSQL arrays, built by joining strings, which drivers build value by value."""

import re
import struct
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from migration_tools.errors import TransferError
from migration_tools.stores.postgres.connection import Connection, sql

# Types whose arrays PostgreSQL reads straight into values: no array of arrays, no delimiter but the comma, and the same
# type when its length is left out. Others are sent as text[] and cast value by value.
_TYPED = re.compile(
    r"(bigint|integer|smallint|boolean|text|character varying|uuid|jsonb?|bytea|date|numeric|interval"
    r"|(timestamp|time) with(out)? time zone|double precision|real|inet|cidr)(\(\d+(,-?\d+)?\))?\Z"
)
_BARE = re.compile(r"(bigint|integer|smallint|boolean|date|numeric|timestamp|double precision|real)\b")

# PostgreSQL's text cannot hold NUL, so what begins with it cannot be part of a value.
_BETWEEN, _NULL = "\0,", "\0N"


def array_type(type_name: str) -> sql.SQL:
    """The type to send a column of this type as: an array of it without its length, else text[]."""
    found = _TYPED.match(type_name)
    name = f"{found[1]}[]" if found else "text[]"
    return sql.SQL(name)


def array_literal(values: Sequence[str | None], type_name: str = "text") -> str:
    """The values as an array's text: {"…",NULL,"…"}; without quotes where the type's text never needs them.

    Raises:
        TransferError: a value holds what its type cannot.
    """
    if not values:
        return "{}"
    nulls = values.count(None)
    if _BARE.match(type_name) and not type_name.endswith("[]"):
        joined = ",".join(["NULL" if value is None else value for value in values] if nulls else values)  # type: ignore[arg-type]
        if joined.count(",") != len(values) - 1:
            raise TransferError(f"a value of type {type_name!r} holds a comma; the stream was not written by a relay")
        return "{" + joined + "}"
    joined = _BETWEEN.join([_NULL if value is None else value for value in values] if nulls else values)  # type: ignore[arg-type]
    if joined.count("\0") != len(values) - 1 + nulls:
        raise TransferError("a value holds the character NUL, which PostgreSQL cannot store; correct it at its origin")
    if "\\" in joined:
        joined = joined.replace("\\", "\\\\")
    if '"' in joined:
        joined = joined.replace('"', '\\"')
    literal = '{"' + joined.replace(_BETWEEN, '","') + '"}'
    return literal.replace(f'"{_NULL}"', "NULL") if nulls else literal


class _Uuids(bytes):
    """A uuid[] in PostgreSQL's binary form: it reads a uuid's text thirty times slower than Python does."""

    @classmethod
    def pack(cls, values: Sequence[str | None]) -> "_Uuids | None":
        """The array; None when a value is not written as PostgreSQL writes it."""
        present = [value for value in values if value is not None]
        joined = "".join(present)
        dashes = "-" * len(present)
        if (
            any(len(value) != _WRITTEN for value in present)
            or joined.count("-") != 4 * len(present)
            or any(joined[place::_WRITTEN] != dashes for place in (8, 13, 18, 23))
        ):
            return None
        try:
            packed = bytes.fromhex(joined.replace("-", ""))
        except ValueError:
            return None
        uuids = (_SIXTEEN + packed[start : start + 16] for start in range(0, len(packed), 16))
        items = uuids if None not in values else (_ABSENT if v is None else next(uuids) for v in values)
        head = struct.pack("!iiIii", 1, int(None in values), _UUID_OID, len(values), 1)
        return cls(head + b"".join(items))


class _UuidsDumper(Dumper):
    format = Format.BINARY
    oid = 2951

    def dump(self, obj: _Uuids) -> bytes:
        return obj


_UUID_OID = 2950
_WRITTEN = 36
_SIXTEEN, _ABSENT = struct.pack("!i", 16), struct.pack("!i", -1)


def execute_with_arrays(
    conn: Connection,
    statement: sql.Composed | sql.SQL | bytes,
    columns: Sequence[Sequence[str | None]],
    types: Sequence[str],
) -> "psycopg.Cursor[tuple[Any, ...]]":
    """Execute a statement whose parameters are these columns, each cast to the array_type of its type.

    The server binds them, also on a connection whose own cursors write parameters into the statement, as Django's do.
    Returns the cursor; see pipelines.counted.
    """
    cursor = psycopg.Cursor(conn)
    cursor.adapters.register_dumper(_Uuids, _UuidsDumper)
    return cursor.execute(statement, [_array(column, each) for column, each in zip(columns, types, strict=True)])


def _array(values: Sequence[str | None], type_name: str) -> "str | _Uuids":
    packed = _Uuids.pack(values) if type_name == "uuid" and values else None
    return packed if packed is not None else array_literal(values, type_name)
