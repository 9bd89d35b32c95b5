"""Debezium's JSON, with and without the schema that its converter may wrap around it."""

import json
import re
from decimal import Decimal
from typing import Any, Final

from migration_tools.messaging.foreign import FieldSchema, ForeignChange, ForeignKind, UnusableChange

KINDS: Final = {
    "c": ForeignKind.WRITTEN,
    "u": ForeignKind.WRITTEN,
    "d": ForeignKind.DELETED,
    "r": ForeignKind.READ,
}
# What the connector writes for a large value that an update did not change: text, or its base64 for bytes.
UNAVAILABLE: Final = {"__debezium_unavailable_value", "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}


def read_change(value: str | bytes | None) -> ForeignChange | None:
    """Read a message's value; None for what says nothing of a row: tombstones, transaction markers, heartbeats.

    Raises:
        UnusableChange: it is not a change event, truncates a table, or names no position that could be compared.
    """
    document = json.loads(value or "null", parse_float=Decimal)
    schema: dict[str, Any] | None = None
    if isinstance(document, dict) and set(document) == {"schema", "payload"}:
        schema, document = document["schema"], document["payload"]
    if document is None:
        return None
    if not isinstance(document, dict):
        raise UnusableChange("a message is not an object; a Debezium feed carries JSON change events")
    if "op" not in document:
        if {"before", "after"} & document.keys() or "__deleted" in document or not _is_marker(document):
            raise UnusableChange(
                "a message has no 'op': the connector unwraps its events (ExtractNewRecordState); take that transform "
                "off, the position and the old key are needed"
            )
        return None
    operation, source = document["op"], document.get("source") or {}
    if operation == "m":
        return None
    table = ".".join(str(source[name]) for name in ("schema" if source.get("schema") else "db", "table") if source)
    if operation == "t":
        raise UnusableChange(
            f"{table!r} was truncated at its source; empty it here too and take a new snapshot, then skip this message"
        )
    if operation not in KINDS:
        raise UnusableChange(f"operation {operation!r} on {table!r} is not one of {sorted(KINDS)}")
    kind = KINDS[operation]
    part = "before" if kind is ForeignKind.DELETED else "after"
    row = document.get(part)
    if not isinstance(row, dict):
        raise UnusableChange(
            f"operation {operation!r} on {table!r} has no {part!r}; give the table a primary key, or REPLICA IDENTITY "
            "FULL, at its source"
        )
    return ForeignChange(
        table=table,
        kind=kind,
        values={name: each for name, each in row.items() if not _unavailable(each)},
        position=_position(table, source),
        fields=_fields(schema, part),
        whole=not any(_unavailable(each) for each in row.values()),
    )


def _is_marker(document: dict[str, Any]) -> bool:
    """Heartbeats have a time only, transaction markers a status."""
    return set(document) <= {"ts_ms", "ts_us", "ts_ns"} or "status" in document


def _unavailable(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) == 1 and _unavailable(value[0])
    return isinstance(value, str) and value in UNAVAILABLE


def _position(table: str, source: dict[str, Any]) -> tuple[int, ...]:
    if isinstance(source.get("lsn"), int):
        return (source["lsn"],)
    if source.get("file") and isinstance(source.get("pos"), int):
        number = re.search(r"(\d+)\Z", str(source["file"]))
        if number is not None:
            return (int(number[1]), source["pos"], int(source.get("row") or 0))
    raise UnusableChange(
        f"a change of {table!r} has neither 'source.lsn' nor 'source.file' and 'pos'; events of PostgreSQL's and "
        "MySQL's connectors can be ordered, others cannot"
    )


def _fields(schema: dict[str, Any] | None, part: str) -> dict[str, FieldSchema]:
    for each in (schema or {}).get("fields", ()):
        if each.get("field") == part:
            return {
                one["field"]: FieldSchema(
                    type=one["type"], name=one.get("name"), parameters=dict(one.get("parameters") or {})
                )
                for one in each.get("fields", ())
            }
    return {}
