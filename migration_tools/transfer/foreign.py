"""Apply what Debezium or Maxwell have captured to tables of this database, each change once.

Note [foreign positions]. These tools deliver at least once. Per row the newest applied position of the source's log is
kept, beside the row and committed with it, after a delete too; a change is applied if its own is newer. That is enough:
two changes of one row are written under its row lock, so their places in the log are in the order of their commits.
Changes of different rows may share a place (rows of one COPY do), so a mark per feed would lose some. At one place of
the log an end yields to a row, because a statement that shifts keys ends and writes the same one. A row that a snapshot
read is older than every change that follows it and newer than every one it follows: it is applied unless a change of a
later place is known, and yields to every streamed change after it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction as django_transaction

from migration_tools.conf import settings
from migration_tools.errors import SettingsError, TransferError
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.batch import RelationHead
from migration_tools.messaging.foreign import ForeignChange, ForeignKind, UnusableChange, debezium, maxwell
from migration_tools.messaging.foreign.encodings import MAXWELL, text_of
from migration_tools.stores.postgres import Connection, advisory, describe_failure, django_connection, errors, sql
from migration_tools.stores.postgres.arrays import array_type, execute_with_arrays
from migration_tools.stores.postgres.catalog import Table, read_table
from migration_tools.stores.postgres.pipelines import counted
from migration_tools.transfer.sync import upsert_statement

Key = tuple[str, ...]
READ_BY_SNAPSHOT: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What became of a batch: changes applied, known already, and messages that say nothing of a declared table."""

    applied: int
    known: int
    ignored: int


@dataclass(frozen=True, kw_only=True)
class ForeignTable:
    """Where a source's table goes: `columns` by the source's names."""

    shape: Table
    key: tuple[str, ...]
    columns: dict[str, str] | None

    def source_key(self) -> tuple[str, ...]:
        """The key's columns by the source's names."""
        back = {ours: theirs for theirs, ours in (self.columns or {}).items()}
        return tuple(back.get(name, name) for name in self.key)


@dataclass(kw_only=True)
class _Row:
    """What a key comes to in a batch; without `columns` it has ended, and if `partial` some of them are not known."""

    position: tuple[int, ...] | None
    columns: dict[str, str | None] | None = None
    partial: bool = False
    touched: bool = field(default=False)


class ForeignFeed:
    """One entry of MIGRATION_TOOLS['FOREIGN'] against the tables of the Django database `using`."""

    def __init__(self, name: str, *, using: str | None = None):
        declared = settings().FOREIGN.get(name)
        if declared is None:
            raise SettingsError(f"MIGRATION_TOOLS['FOREIGN'] has no {name!r}; it has {sorted(settings().FOREIGN)}")
        self.name = name
        self.format = str(declared["FORMAT"])
        self.token = str(declared.get("TOKEN", ""))
        self.using = using or settings().DATABASE
        self.encodings = {**(MAXWELL if self.format == "maxwell" else {}), **declared.get("ENCODINGS", {})}
        conn = django_connection(self.using)
        self.tables = {source: _table(conn, name, source, each) for source, each in declared["TABLES"].items()}

    def ingest(self, messages: Sequence[str | bytes | None]) -> Ingested:
        """Apply the values of messages, in their order, with their positions in one transaction; all or nothing.

        Raises:
            UnusableChange: one of them cannot be applied; nothing of the batch is.
        """
        changes = [change for each in messages for change in self._read(each)]
        wanted = [change for change in changes if change.table in self.tables]
        with django_transaction.atomic(using=self.using, durable=True):
            conn = django_connection(self.using)
            advisory.take(conn, LockClass.CONSUMER, f"foreign {self.name}")
            try:
                with django_transaction.atomic(using=self.using):
                    applied = self._apply(conn, wanted)
            except errors.UniqueViolation:
                # A unique value went from one row to another: take the changes as the source made them.
                applied = sum(self._apply(conn, [change]) for change in wanted)
            except (errors.DataError, errors.IntegrityError) as error:
                raise TransferError(
                    f"a change fed by {self.name!r} does not fit: {describe_failure(error)}; widen the table, or leave "
                    "the column out in FOREIGN. Nothing of its batch was applied"
                ) from error
            points.reached("foreign.before_commit")
        points.reached("foreign.after_commit")
        return Ingested(applied=applied, known=len(wanted) - applied, ignored=len(messages) - len(wanted))

    def _read(self, message: str | bytes | None) -> Iterable[ForeignChange]:
        if self.format == "debezium":
            change = debezium.read_change(message)
            return [] if change is None else [change]
        known = json.loads(message or "null")
        table = self.tables.get(f"{known.get('database')}.{known.get('table')}") if isinstance(known, dict) else None
        return maxwell.read_changes(message, table.source_key() if table else ())

    def _apply(self, conn: Connection, changes: Sequence[ForeignChange]) -> int:
        applied = 0
        by_table: dict[str, list[ForeignChange]] = {}
        for change in changes:
            by_table.setdefault(change.table, []).append(change)
        for source, part in by_table.items():
            table = self.tables[source]
            read = [(self._columns(table, change), change) for change in part]
            rows = self._known(conn, source, [_key(table, columns) for columns, _ in read])
            for columns, change in read:
                applied += _take(rows[_key(table, columns)], columns, change)
            touched = {key: row for key, row in rows.items() if row.touched}
            _write(conn, table, touched)
            self._remember(conn, source, touched)
        return applied

    def _columns(self, table: ForeignTable, change: ForeignChange) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for theirs, value in change.values.items():
            if table.columns is not None and theirs not in table.columns:
                continue
            ours = table.columns[theirs] if table.columns is not None else theirs
            if ours not in table.shape.columns:
                raise UnusableChange(
                    f"column {theirs!r} of {change.table!r} has no place in {table.shape.name!r}; name the columns to "
                    f"take in FOREIGN[{self.name!r}]"
                )
            if change.kind is ForeignKind.DELETED and ours not in table.key:
                continue
            # A moment without a zone is one of UTC in both tools, and this connection's time zone is UTC.
            base = table.shape.columns[ours].base
            found[ours] = text_of(value, change.fields.get(theirs), base, self.encodings)
        return found

    def _known(self, conn: Connection, source: str, keys: Iterable[Key]) -> dict[Key, _Row]:
        rows = {key: _Row(position=None) for key in keys}
        found = conn.execute(
            """SELECT f.key, f.position FROM strangle_foreign_row f
               JOIN (SELECT ARRAY(SELECT jsonb_array_elements_text(k)) AS key FROM jsonb_array_elements(%s::jsonb) k) w
               USING (key) WHERE f.feed = %s AND f.table_name = %s""",
            [json.dumps(list(rows)), self.name, source],
        ).fetchall()
        for key, position in found:
            rows[tuple(key)].position = tuple(position)
        return rows

    def _remember(self, conn: Connection, source: str, rows: dict[Key, _Row]) -> None:
        conn.execute(
            """INSERT INTO strangle_foreign_row (feed, table_name, key, position)
               SELECT %s, %s, ARRAY(SELECT jsonb_array_elements_text(r->0)),
                      ARRAY(SELECT p::bigint FROM jsonb_array_elements_text(r->1) p)
               FROM jsonb_array_elements(%s::jsonb) r
               ON CONFLICT (feed, table_name, key)
               DO UPDATE SET position = EXCLUDED.position, applied_at = clock_timestamp()""",
            [self.name, source, json.dumps([[key, row.position] for key, row in rows.items()])],
        )


def _table(conn: Connection, feed: str, source: str, declared: Any) -> ForeignTable:
    shape = read_table(conn, declared["into"])
    if shape is None:
        raise SettingsError(f"FOREIGN[{feed!r}] writes {source!r} into {declared['into']!r}, which is not here")
    key = tuple(declared.get("key", shape.key))
    if not key or frozenset(key) not in shape.unique:
        raise SettingsError(f"FOREIGN[{feed!r}]: {shape.name!r} has no unique index over its key {list(key)}")
    return ForeignTable(shape=shape, key=key, columns=declared.get("columns"))


def _key(table: ForeignTable, columns: dict[str, str | None]) -> Key:
    parts = [columns.get(name) for name in table.key]
    if None in parts:
        raise UnusableChange(
            f"a change for {table.shape.name!r} lacks a part of its key {list(table.key)}; give the source's table a "
            "primary key over it, or REPLICA IDENTITY FULL"
        )
    return tuple(str(part) for part in parts)


def _take(row: _Row, columns: dict[str, str | None], change: ForeignChange) -> bool:
    """Let the change count if it is newer than what the row has; see Note [foreign positions]."""
    if change.kind is ForeignKind.READ:
        if row.position and change.position and change.position <= row.position[: len(change.position)]:
            return False
        row.position = READ_BY_SNAPSHOT
    else:
        position = (*change.position, int(change.kind is ForeignKind.WRITTEN))
        if row.position is not None and position <= row.position:
            return False
        row.position = position
    row.touched = True
    if change.kind is ForeignKind.DELETED:
        row.columns, row.partial = None, False
    else:
        whole = row.columns is not None and not row.partial
        row.partial = not (whole or change.whole)
        row.columns = {**(row.columns or {}), **columns}
    return True


def _write(conn: Connection, table: ForeignTable, rows: dict[Key, _Row]) -> None:
    ended = [key for key, row in rows.items() if row.columns is None]
    if ended:
        _delete(conn, table, ended)
    by_columns: dict[tuple[bool, tuple[str, ...]], list[dict[str, str | None]]] = {}
    for row in rows.values():
        if row.columns is not None:
            by_columns.setdefault((row.partial, tuple(sorted(row.columns))), []).append(row.columns)
    for (partial, names), part in by_columns.items():
        values = [[each[name] for each in part] for name in names]
        types = [table.shape.columns[name].type for name in names]
        if not partial:
            head = RelationHead(table=table.shape.name, key=table.key, columns=names, rank=0, owned=False, patch=False)
            execute_with_arrays(conn, upsert_statement(table.shape, head), values, types)
        elif counted(execute_with_arrays(conn, _update_statement(table, names), values, types)) < len(part):
            raise UnusableChange(
                f"a change for {table.shape.name!r} leaves out large values of a row that is not here; take a "
                "snapshot of the table first"
            )


def _delete(conn: Connection, table: ForeignTable, keys: Sequence[Key]) -> None:
    statement = sql.SQL("DELETE FROM {} t USING unnest({}) AS u({}) WHERE {}").format(
        sql.Identifier(table.shape.name), _arrays(table, table.key), _names(table.key), _match(table)
    )
    columns = [[key[i] for key in keys] for i in range(len(table.key))]
    execute_with_arrays(conn, statement, columns, [table.shape.columns[name].type for name in table.key])


def _update_statement(table: ForeignTable, names: Sequence[str]) -> sql.Composed:
    sets = sql.SQL(", ").join(
        sql.SQL("{0} = u.{0}::{1}").format(sql.Identifier(name), sql.SQL(table.shape.columns[name].base))
        for name in names
    )
    return sql.SQL("UPDATE {} t SET {} FROM unnest({}) AS u({}) WHERE {}").format(
        sql.Identifier(table.shape.name), sets, _arrays(table, names), _names(names), _match(table)
    )


def _arrays(table: ForeignTable, names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("%s::{}").format(array_type(table.shape.columns[name].type)) for name in names)


def _names(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


def _match(table: ForeignTable) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("t.{0} = u.{0}::{1}").format(sql.Identifier(name), sql.SQL(table.shape.columns[name].base))
        for name in table.key
    )
