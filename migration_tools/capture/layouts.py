"""Remember which columns a touch reports, so that it is read rightly after a schema migration or a mended playbook.

Note [layouts]. A touch holds values by their places. Between its writing and the tick that reads it the playbook may be
mended, and places then mean other columns: read by place alone, `[7, 3]` would touch order 3 instead of order 7 and
lose a write. So each touch carries the number of its layout. A wanted column is found by its number in the table, which
survives a rename, or else by its name, which survives a column dropped and made again.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from migration_tools.capture.declaration import TableSpec
from migration_tools.errors import CaptureDrift
from migration_tools.messaging.ticks import Touch
from migration_tools.stores.postgres import Connection, sql


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A row of strangle_layout."""

    table: int
    key_columns: tuple[str, ...]
    key_numbers: tuple[int, ...]
    reported_columns: tuple[str, ...]
    reported_numbers: tuple[int, ...]


def column_numbers(conn: Connection, table: str) -> tuple[int, dict[str, int]]:
    """(the table's own number, its columns' numbers by name); zero and nothing when there is no such table."""
    rows = conn.execute(
        """SELECT attrelid::bigint, attname::text, attnum::int FROM pg_attribute
           WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped""",
        [sql.Identifier(table).as_string()],
    ).fetchall()
    return (int(rows[0][0]) if rows else 0), {row[1]: row[2] for row in rows}


def source_of(conn: Connection, table: str, column: str | None) -> dict[str, Any] | None:
    """Where a column is, as relations remember it; None without one."""
    if column is None:
        return None
    relation, numbers = column_numbers(conn, table)
    return {"table": relation, "column": column, "number": numbers.get(column, 0)}


def note_layout(conn: Connection, table: TableSpec) -> int:
    """The number of the layout that triggers of this declaration report by; the same one if it is known already."""
    relation, numbers = column_numbers(conn, table.reported_as or table.table)
    values = [
        table.stream,
        table.table,
        relation,
        list(table.key),
        [numbers.get(name, 0) for name in table.key],
        list(table.reported),
        [numbers.get(name, 0) for name in table.reported],
    ]
    known = conn.execute(
        """SELECT max(id) FROM strangle_layout WHERE stream = %s AND table_name = %s AND relation = %s AND key_columns =
           %s::text[] AND key_numbers = %s::int[] AND reported_columns = %s::text[] AND reported_numbers = %s::int[]""",
        values,
    ).fetchone()
    if known is None or known[0] is None:
        known = conn.execute(
            """INSERT INTO strangle_layout (stream, table_name, relation, key_columns, key_numbers, reported_columns,
                   reported_numbers) VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id""",
            values,
        ).fetchone()
    return int(known[0]) if known else 0


class TouchReader:
    """Reads the touches of one tick, by whatever layout each of them was written."""

    def __init__(self, conn: Connection, stream: str, touches: Sequence[Touch]):
        self._conn = conn
        self._stream = stream
        self._layouts: dict[int, Layout] = {}
        wanted = {touch.keys["l"] for touch in touches if "l" in touch.keys}
        if wanted:
            rows = conn.execute(
                """SELECT id, relation, key_columns, key_numbers, reported_columns, reported_numbers
                   FROM strangle_layout WHERE id = ANY (%s)""",
                [sorted(wanted)],
            ).fetchall()
            self._layouts = {
                row[0]: Layout(
                    table=row[1],
                    key_columns=tuple(row[2]),
                    key_numbers=tuple(row[3]),
                    reported_columns=tuple(row[4]),
                    reported_numbers=tuple(row[5]),
                )
                for row in rows
            }

    def keys(self, touch: Touch, parts: Sequence[dict[str, Any]], types: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """The keys of a relation with these key parts that the statement touched."""
        places = self._places(touch, parts, "k")
        for row in touch.keys.get("b", ()):
            yield tuple(
                part["constant"] if place is None else row[place] for part, place in zip(parts, places, strict=True)
            )
        if "w" in touch.keys:
            yield from self._whole_keys(touch, parts, types)

    def values(self, touch: Touch, dependency: dict[str, Any]) -> Iterator[str | None]:
        """What the statement's rows held, before and after it, in the column that a dependency follows."""
        if "d" in touch.keys:
            (place,) = self._places(touch, [dependency], "r")
            for report in touch.keys["d"]:
                yield report[place]
        if "w" in touch.keys:
            name = self._name_in(touch, dependency)
            for row in touch.keys["w"]["rows"]:
                yield None if row[name] is None else _text(row[name])

    def _places(self, touch: Touch, wanted: Sequence[dict[str, Any]], which: str) -> list[int | None]:
        layout = self._layouts.get(touch.keys.get("l", 0))
        if layout is None:
            # Read from the log, or written before there were layouts.
            return [each["place"] for each in wanted]
        names, numbers = (
            (layout.key_columns, layout.key_numbers)
            if which == "k"
            else (layout.reported_columns, layout.reported_numbers)
        )
        return [
            None if each["place"] is None else self._place(touch, each, layout.table, names, numbers) for each in wanted
        ]

    def _place(
        self, touch: Touch, wanted: dict[str, Any], table: int, names: Sequence[str], numbers: Sequence[int]
    ) -> int:
        source = wanted.get("source")
        if source is None:
            return int(wanted["place"])
        if source["table"] == table and source["number"] in numbers:
            return numbers.index(source["number"])
        if source["column"] in names:
            return names.index(source["column"])
        raise self._unread(touch, source["column"], f"its captured writes report {sorted(names)}")

    def _name_in(self, touch: Touch, wanted: dict[str, Any]) -> str:
        """Under which name the rows written down whole hold a column."""
        whole = touch.keys["w"]
        column = wanted["column"]
        table, now = column_numbers(self._conn, touch.table)
        if column in now:
            name = whole["columns"].get(str(now[column])) if table == whole["table"] else column
            if name in whole["columns"].values():
                return str(name)
        raise self._unread(touch, column, whole["why"])

    def _whole_keys(
        self, touch: Touch, parts: Sequence[dict[str, Any]], types: Sequence[str]
    ) -> Iterable[tuple[str, ...]]:
        names = [None if part["place"] is None else self._name_in(touch, part) for part in parts]
        rows = [
            [part["constant"] if name is None else _text(row[name]) for part, name in zip(parts, names, strict=True)]
            for row in touch.keys["w"]["rows"]
        ]
        # JSON spells some values otherwise (a time stamp's T), and a key is compared by its text.
        spelled = sql.SQL(", ").join(
            sql.SQL("(k.row ->> {})::{}::text").format(sql.Literal(i), sql.SQL(name)) for i, name in enumerate(types)
        )
        statement = sql.SQL("SELECT {} FROM jsonb_array_elements(%s::jsonb) k(row)").format(spelled)
        return [tuple(row) for row in self._conn.execute(statement, [json.dumps(rows)])]

    def _unread(self, touch: Touch, column: str, why: str) -> CaptureDrift:
        return CaptureDrift(
            f"column {column!r} of {touch.table!r}, which capture of {self._stream!r} reports, was changed by a schema "
            f"migration ({why}); correct the playbook, then run strangle_doctor {self._stream} --mend. Nothing is "
            "lost: writes since then wait in the outbox"
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
