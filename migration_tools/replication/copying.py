"""Apply events to copies: versions and values change in one transaction; what is there already is not written."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString

from django.db import connections, transaction

from migration_tools.conf import settings
from migration_tools.errors import ReplicationError
from migration_tools.messaging.envelope import Envelope
from migration_tools.replication.merging import Known, end, take
from migration_tools.replication.targets import Copied, OnDelete, Target
from migration_tools.stores.postgres import sql

LARGEST_VERSION = (1 << 63) - 1

_MAKE: LiteralString = """
    INSERT INTO strangle_copied (copy, key, fields, floor) VALUES (%s, %s, '{}', -1) ON CONFLICT DO NOTHING"""
_LOCK: LiteralString = "SELECT fields::text, floor FROM strangle_copied WHERE copy = %s AND key = %s FOR UPDATE"
_KEEP: LiteralString = """
    UPDATE strangle_copied SET fields = %s::jsonb, floor = %s, applied_at = clock_timestamp()
    WHERE copy = %s AND key = %s"""


def take_event(copy: Copied, event: Envelope) -> None:
    """Take what an event says or ends; late and repeated ones change nothing. Call inside a transaction.

    Raises:
        ReplicationError: the payload lacks the key or the version.
    """
    key, version = _told(copy, event)
    if event.event_type in copy.ends:
        forget(copy, key, version)
    else:
        learn(copy, key, version, {name: event.payload[name] for name in copy.fields if name in event.payload})


def learn(copy: Copied, key: str, version: int, values: Mapping[str, Any], *, again: bool = False) -> bool:
    """Take values of a version; with `again` also those of a version that was taken already. Whether rows changed."""
    with _locked(copy, key) as known:
        base = _below(known, version) if again else known
        after, news = take(base, version, values)
        if not news:
            return False
        changed = any([_write(target, key, news) for target in copy.targets])
        _remember(copy, key, after)
        return changed


def forget(copy: Copied, key: str, version: int) -> bool:
    """Take a deletion of a version; whether rows changed."""
    with _locked(copy, key) as known:
        after, ended = end(known, version)
        if after == known:
            return False
        changed = ended and any([end_rows(target, key) for target in copy.targets])
        _remember(copy, key, after)
        return changed


@contextmanager
def _locked(copy: Copied, key: str) -> Iterator[Known]:
    """The entity's versions, locked until the transaction's end; a transaction of its own where none is open."""
    with transaction.atomic(using=settings().DATABASE):
        with connections[settings().DATABASE].cursor() as cursor:
            cursor.execute(_MAKE, [copy.name, key])
            cursor.execute(_LOCK, [copy.name, key])
            fields, floor = cursor.fetchone()
        yield Known(fields=json.loads(fields), floor=floor)


def _remember(copy: Copied, key: str, known: Known) -> None:
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_KEEP, [json.dumps(dict(known.fields)), known.floor, copy.name, key])


def _below(known: Known, version: int) -> Known:
    """What is known without what this very version said."""
    return Known(fields={name: at for name, at in known.fields.items() if at != version}, floor=known.floor)


def _write(target: Target, key: str, news: Mapping[str, Any]) -> bool:
    values = {column: news[name] for column, name in target.columns.items() if name in news}
    return bool(values) and _put(target, key, values, own_row=target.own_row)


def end_rows(target: Target, key: str) -> bool:
    """What the deletion of an entity means for its rows; whether any changed."""
    match target.on_delete:
        case OnDelete.KEEP:
            return False
        case OnDelete.ANONYMISE:
            return _put(target, key, target.anonymous, own_row=False)
        case OnDelete.CASCADE:
            statement = sql.SQL("DELETE FROM {} WHERE {} = {}").format(
                sql.Identifier(target.table), sql.Identifier(target.key), typed(target, target.key)
            )
            return _run(statement, {"key": key, "row": json.dumps({target.key: key})})


def _put(target: Target, key: str, values: Mapping[str, Any], *, own_row: bool) -> bool:
    """Write values where they differ; types are the table's own, since JSON has fewer."""
    columns = [sql.Identifier(name) for name in values]
    news = sql.SQL(", ").join(typed(target, name) for name in values)
    table, key_column = sql.Identifier(target.table), sql.Identifier(target.key)
    differs = sql.SQL("({}) IS DISTINCT FROM ({})").format(
        sql.SQL(", ").join(sql.SQL("t.{}").format(name) for name in columns), news
    )
    sets = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(name, typed(target, column)) for name, column in zip(columns, values, strict=True)
    )
    if own_row:
        statement = sql.SQL(
            "INSERT INTO {table} AS t ({key}, {columns}) VALUES ({value}, {news})"
            " ON CONFLICT ({key}) DO UPDATE SET {sets} WHERE {differs}"
        )
    else:
        statement = sql.SQL("UPDATE {table} AS t SET {sets} WHERE t.{key} = {value} AND {differs}")
    made = statement.format(
        table=table, key=key_column, columns=sql.SQL(", ").join(columns), value=typed(target, target.key), news=news,
        sets=sets, differs=differs,
    )  # fmt: skip
    return _run(made, {"row": json.dumps({target.key: key, **values})})


def typed(target: Target, column: str) -> sql.Composed:
    """A column's value out of the parameter `row`, in the column's own type."""
    return sql.SQL("(jsonb_populate_record(NULL::{}, %(row)s::jsonb)).{}").format(
        sql.Identifier(target.table), sql.Identifier(column)
    )


def _run(statement: sql.Composed, values: Mapping[str, Any]) -> bool:
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(statement, values)
        return bool(cursor.rowcount)


def _told(copy: Copied, event: Envelope) -> tuple[str, int]:
    if copy.key not in event.payload or (copy.version is not None and copy.version not in event.payload):
        raise ReplicationError(
            f"{event.event_type!r} has no {copy.key!r} or no {copy.version!r}; copy {copy.name!r} needs both"
        )
    version = event.position if copy.version is None else event.payload[copy.version]
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version <= LARGEST_VERSION:
        raise ReplicationError(f"{event.event_type!r} has a {copy.version!r} that is no number from 0 on")
    return str(event.payload[copy.key]), version
