"""Hold a read model against the JOIN that it replaces: random rows, their events in a random order, the same answer."""

import datetime as dt
import random
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.utils.module_loading import import_string

from migration_tools.conf import settings
from migration_tools.messaging.handling import handle
from migration_tools.projections.declaration import ReadModel
from migration_tools.projections.layout import SQL_TYPES, install
from migration_tools.projections.registry import register
from migration_tools.stores.postgres import Connection, django_connection, sql
from migration_tools.testing.deliveries import sample

ROWS = 8


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table of the JOIN: columns with their types, its key, which columns refer to which table, and its stream."""

    table: str
    stream: str
    key: str
    columns: Mapping[str, str]
    references: Mapping[str, str] = field(default_factory=dict)


class JoinDiffers(AssertionError):
    """The read model does not show what the JOIN gives; the message names the seed."""


class _Undo(Exception):
    """Ends a round without a trace."""


def assert_equals_join(
    kind: type[ReadModel] | str,
    query: str,
    sources: Sequence[Source],
    *,
    shows: Sequence[str],
    rounds: int = 5,
    seed: int = 0,
) -> None:
    """Fill temporary tables of the sources' names at random, change and delete, and compare the view with the query.

    Each round is one transaction, which is rolled back. Rows are told as the events `<table>.changed` and
    `<table>.deleted`, in any order and with repetitions. `shows` names the view's column for each one of the query;
    `kind` is the class, or where it stands.

    Raises:
        JoinDiffers: they are not the same.
    """
    declared: type[ReadModel] = import_string(kind) if isinstance(kind, str) else kind
    model = register(declared())
    alias = settings().DATABASE
    view = next(table for table in reversed(model.tables) if not table.private)
    for number in range(seed, seed + rounds):
        # Not for secrets: the same seed must give the same rows.
        choose = random.Random(number)  # noqa: S311
        try:
            with transaction.atomic(using=alias):
                conn = django_connection(alias)
                install(conn, model)
                for event in _told(conn, sources, choose):
                    handle(event, model.of_group())
                want = conn.execute(query.encode()).fetchall()
                names = sql.SQL(", ").join(map(sql.Identifier, shows))
                found = conn.execute(sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(view.name))).fetchall()
                if Counter(map(repr, want)) != Counter(map(repr, found)):
                    raise JoinDiffers(f"with seed {number} the JOIN gives {want} and {view.name!r} shows {found}")
                raise _Undo
        except _Undo:
            pass


def _told(conn: Connection, sources: Sequence[Source], choose: random.Random) -> list[Any]:
    """Make the rows; the events that tell of them, as a bad transport would deliver them."""
    events: list[Any] = []
    positions: Counter[str] = Counter()
    keys: dict[str, list[Any]] = {}

    def tell(source: Source, what: str, said: Mapping[str, Any]) -> None:
        positions[source.stream] += 1
        events.append(
            sample(
                f"{source.table}.{what}",
                {name: None if value is None else _json(value) for name, value in said.items()},
                stream=source.stream,
                aggregate_type=source.table,
                aggregate_id=said[source.key],
                position=positions[source.stream],
            )
        )

    for source in reversed(sources):
        # Those that others refer to stand behind them in the query.
        _create(conn, source)
        keys[source.table] = []
        for number in range(ROWS):
            row = {name: _value(choose, type_, number) for name, type_ in source.columns.items()}
            row |= {name: choose.choice(keys[to]) for name, to in source.references.items()}
            row[source.key] = _key(choose, source.columns[source.key], number)
            keys[source.table].append(row[source.key])
            _insert(conn, source, row)
            tell(source, "changed", row)
            if choose.random() < 0.5:
                row |= {
                    name: _value(choose, type_, number)
                    for name, type_ in source.columns.items()
                    if name != source.key and name not in source.references
                }
                _replace(conn, source, row)
                tell(source, "changed", row)
        if source is sources[0]:
            gone = choose.choice(keys[source.table])
            conn.execute(
                sql.SQL("DELETE FROM {} WHERE {} = %s").format(
                    sql.Identifier(source.table), sql.Identifier(source.key)
                ),
                [gone],
            )
            tell(source, "deleted", {source.key: gone})
    twisted = events + choose.choices(events, k=len(events) // 2)
    choose.shuffle(twisted)
    return twisted


def _create(conn: Connection, source: Source) -> None:
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), SQL_TYPES[kind]) for name, kind in source.columns.items()
    )
    conn.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(sql.Identifier(source.table), columns))


def _insert(conn: Connection, source: Source, row: Mapping[str, Any]) -> None:
    conn.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(source.table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(
                sql.SQL("{}::{}").format(sql.Placeholder(name), SQL_TYPES[source.columns[name]]) for name in row
            ),
        ),
        dict(row),
    )


def _replace(conn: Connection, source: Source, row: Mapping[str, Any]) -> None:
    conn.execute(
        sql.SQL("DELETE FROM {} WHERE {} = %s").format(sql.Identifier(source.table), sql.Identifier(source.key)),
        [row[source.key]],
    )
    _insert(conn, source, row)


def _key(choose: random.Random, kind: str, number: int) -> Any:
    if kind == "uuid":
        return uuid.UUID(int=choose.getrandbits(128))
    return number + 1 if kind in ("integer", "bigint") else f"key {number}"


def _value(choose: random.Random, kind: str, number: int) -> Any:
    if choose.random() < 0.15:
        return None
    match kind:
        case "text":
            return choose.choice(["", "é", f"text {choose.randrange(100)}"])
        case "integer" | "bigint":
            return choose.randrange(-5, 1000)
        case "numeric":
            return f"{choose.randrange(1000)}.{choose.randrange(100):02}"
        case "boolean":
            return choose.random() < 0.5
        case "uuid":
            return uuid.UUID(int=choose.getrandbits(128))
        case "date":
            return dt.date(2026, 1, 1) + dt.timedelta(days=choose.randrange(1000))
        case "timestamptz":
            return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=choose.randrange(10**8))
        case _:
            return None


def _json(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    return value.isoformat() if isinstance(value, dt.date) else value
