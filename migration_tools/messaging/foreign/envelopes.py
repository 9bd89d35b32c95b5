"""Write a change of the log as Debezium's event, with its schema, so that what reads Debezium can read us."""

import base64
import datetime as dt
import json
from dataclasses import dataclass
from typing import Any, Final

from migration_tools.messaging.foreign import UnusableChange
from migration_tools.stores.postgres.pgoutput import Change, ChangeKind, LoggedTable, Row, Unchanged

# The literal and the semantic type by PostgreSQL's type number. What is not here is written as text, a numeric too: the
# connector's decimal.handling.mode=string.
TYPES: Final[dict[int, tuple[str, str | None]]] = {
    16: ("boolean", None),
    17: ("bytes", None),
    20: ("int64", None),
    21: ("int16", None),
    23: ("int32", None),
    26: ("int64", None),
    114: ("string", "io.debezium.data.Json"),
    700: ("float", None),
    701: ("double", None),
    1082: ("int32", "io.debezium.time.Date"),
    1083: ("int64", "io.debezium.time.MicroTime"),
    1114: ("int64", "io.debezium.time.MicroTimestamp"),
    1184: ("string", "io.debezium.time.ZonedTimestamp"),
    1266: ("string", "io.debezium.time.ZonedTime"),
    2950: ("string", "io.debezium.data.Uuid"),
    3802: ("string", "io.debezium.data.Json"),
}
OPERATIONS: Final = {ChangeKind.INSERT: "c", ChangeKind.UPDATE: "u", ChangeKind.DELETE: "d"}
UNAVAILABLE: Final = "__debezium_unavailable_value"
SOURCE_FIELDS: Final = {
    "version": "string",
    "connector": "string",
    "name": "string",
    "ts_ms": "int64",
    "snapshot": "string",
    "db": "string",
    "sequence": "string",
    "schema": "string",
    "table": "string",
    "txId": "int64",
    "lsn": "int64",
    "xmin": "int64",
}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a change stands: `last_commit` is the commit before its transaction's, `committed` in epoch seconds.

    `key` is the table's primary key, which the log does not tell if the replica identity is FULL.
    """

    key: tuple[str, ...]
    database: str
    prefix: str
    xid: int
    committed: float
    last_commit: int | None
    now: float


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message of a topic; without a value it is a tombstone."""

    topic: str
    key: dict[str, Any] | None
    value: dict[str, Any] | None


def write_change(change: Change, origin: Origin) -> list[Message]:
    """The events of a change, as the connector makes them: an update of the key ends one row and makes another.

    Raises:
        UnusableChange: a value has no form in the event (an infinite or very old moment).
    """
    table, old, new = change.table, change.old, change.new
    if table.whole and old and new:
        # The whole old row has the large values that did not change.
        new = tuple(was if isinstance(now, Unchanged) else now for was, now in zip(old, new, strict=True))
    moved = (
        change.kind is ChangeKind.UPDATE
        and old is not None
        and new is not None
        and _key_differs(table, origin.key, old, new)
    )
    if moved:
        return [
            _event("d", table, old, None, change, origin),
            _tombstone(table, old, origin),
            _event("c", table, None, new, change, origin),
        ]
    # Without REPLICA IDENTITY FULL an old row is its key: enough for an end, no image for an update.
    before = old if change.kind is ChangeKind.DELETE or table.whole else None
    messages = [_event(OPERATIONS[change.kind], table, before, new, change, origin)]
    if change.kind is ChangeKind.DELETE:
        messages.append(_tombstone(table, old, origin))
    return messages


def topic_of(table: LoggedTable, prefix: str) -> str:
    """<prefix>.<schema>.<table>"""
    return f"{prefix}.{table.schema}.{table.name}"


def _key_differs(table: LoggedTable, key: tuple[str, ...], old: Row, new: Row) -> bool:
    places = [table.columns.index(name) for name in key]
    return any(old[i] != new[i] and not isinstance(new[i], Unchanged) for i in places)


def _event(
    operation: str, table: LoggedTable, before: Row | None, after: Row | None, change: Change, origin: Origin
) -> Message:
    topic = topic_of(table, origin.prefix)
    committed = int(origin.committed * 1000)
    last = None if origin.last_commit is None else str(origin.last_commit)
    payload = {
        "before": None if before is None else _values(table, before),
        "after": None if after is None else _values(table, after),
        "source": {
            "version": "1",
            "connector": "postgresql",
            "name": origin.prefix,
            "ts_ms": committed,
            "snapshot": "false",
            "db": origin.database,
            "sequence": json.dumps([last, str(change.lsn)], separators=(",", ":")),
            "schema": table.schema,
            "table": table.name,
            "txId": origin.xid,
            "lsn": change.lsn,
            "xmin": None,
        },
        "op": operation,
        "ts_ms": int(origin.now * 1000),
        "transaction": None,
    }
    row = {"type": "struct", "fields": _schema(table), "optional": True, "name": f"{topic}.Value"}
    schema = {
        "type": "struct",
        "name": f"{topic}.Envelope",
        "optional": False,
        "fields": [
            {**row, "field": "before"},
            {**row, "field": "after"},
            {
                "type": "struct",
                "name": "io.debezium.connector.postgresql.Source",
                "optional": False,
                "field": "source",
                "fields": [{"type": kind, "optional": True, "field": name} for name, kind in SOURCE_FIELDS.items()],
            },
            {"type": "string", "optional": False, "field": "op"},
            {"type": "int64", "optional": True, "field": "ts_ms"},
        ],
    }
    row_for_key = after if after is not None else before
    return Message(topic=topic, key=_key(table, origin, row_for_key), value={"schema": schema, "payload": payload})


def _tombstone(table: LoggedTable, row: Row | None, origin: Origin) -> Message:
    return Message(topic=topic_of(table, origin.prefix), key=_key(table, origin, row), value=None)


def _key(table: LoggedTable, origin: Origin, row: Row | None) -> dict[str, Any] | None:
    if row is None or not origin.key:
        return None
    values = _values(table, row)
    return {name: values[name] for name in origin.key}


def _schema(table: LoggedTable) -> list[dict[str, Any]]:
    fields = []
    for name, number in zip(table.columns, table.types, strict=True):
        kind, semantic = TYPES.get(number, ("string", None))
        fields.append({"type": kind, "optional": True, "field": name} | ({"name": semantic} if semantic else {}))
    return fields


def _values(table: LoggedTable, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, number, value in zip(table.columns, table.types, row, strict=True):
        if value is None:
            found[name] = None
        elif isinstance(value, Unchanged):
            found[name] = UNAVAILABLE if number != 17 else base64.b64encode(UNAVAILABLE.encode()).decode()
        else:
            try:
                found[name] = _value(number, value)
            except ValueError as error:
                raise UnusableChange(
                    f"a value of {table.name}.{name} has no form in Debezium's event; leave the table out"
                ) from error
    return found


def _value(number: int, text: str) -> Any:
    match number:
        case 16:
            return text == "t"
        case 17:
            return base64.b64encode(bytes.fromhex(text.removeprefix("\\x"))).decode()
        case 20 | 21 | 23 | 26:
            return int(text)
        case 700 | 701:
            return float(text) if text not in {"NaN", "Infinity", "-Infinity"} else text
        case 1082:
            return (dt.date.fromisoformat(text) - dt.date(1970, 1, 1)).days
        case 1083:
            return _microseconds(dt.datetime.fromisoformat(f"1970-01-01 {text}"))
        case 1114:
            return _microseconds(dt.datetime.fromisoformat(text))
        case 1184:
            return dt.datetime.fromisoformat(text).astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        case _:
            return text


def _microseconds(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)  # noqa: DTZ001
