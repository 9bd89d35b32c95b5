"""What a database says of its tables: columns, keys, references, sequences."""

import re
from dataclasses import dataclass

from migration_tools.stores.postgres.connection import Connection, sql


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column as PostgreSQL knows it; `type` is format_type's spelling, castable."""

    name: str
    type: str
    required: bool
    has_default: bool
    generated: bool
    identity: bool


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """One reference: `columns` of this table to `target_columns` of `target`."""

    name: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]
    cascades: bool


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table's shape."""

    name: str
    columns: dict[str, Column]
    key: tuple[str, ...]
    references: tuple[ForeignKey, ...]


def read_table(conn: Connection, name: str) -> Table | None:
    """Describe the table that `name` means on this connection's search path; None when there is none."""
    found = conn.execute(
        "SELECT oid FROM pg_class WHERE oid = to_regclass(%s) AND relkind IN ('r', 'p')", [f'"{name}"']
    ).fetchone()
    if found is None:
        return None
    oid = found[0]
    columns = {
        row[0]: Column(name=row[0], type=row[1], required=row[2], has_default=row[3], generated=row[4], identity=row[5])
        for row in conn.execute(
            """SELECT attname, format_type(atttypid, atttypmod), attnotnull, atthasdef OR attidentity <> '',
                      attgenerated <> '', attidentity <> ''
               FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum""",
            [oid],
        )
    }
    key = conn.execute(
        """SELECT array_agg(a.attname::text ORDER BY k.place)
           FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
           WHERE i.indrelid = %s AND i.indisprimary""",
        [oid],
    ).fetchone()
    references = tuple(
        ForeignKey(name=row[0], columns=tuple(row[1]), target=row[2], target_columns=tuple(row[3]), cascades=row[4])
        for row in conn.execute(
            """SELECT c.conname,
                      (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(c.conkey) WITH ORDINALITY
                      k(attnum, place)
                       JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum),
                      t.relname::text, (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(c.confkey) WITH
                      ORDINALITY k(attnum, place)
                       JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.attnum),
                      c.confdeltype = 'c'
               FROM pg_constraint c JOIN pg_class t ON t.oid = c.confrelid
               WHERE c.conrelid = %s AND c.contype = 'f' ORDER BY c.conname""",
            [oid],
        )
    )
    return Table(name=name, columns=columns, key=tuple((key and key[0]) or ()), references=references)


def read_unbending_references(conn: Connection, table: str) -> list[tuple[str, str, str]]:
    """References to the table that act at once or by themselves: (constraint, its table, what is wrong with it).

    Rows come in any order and may be away for a moment inside a transaction, so a reference to them must be NO ACTION
    and DEFERRABLE INITIALLY DEFERRED, as Django makes them.
    """
    rows = conn.execute(
        """SELECT conname::text, conrelid::regclass::text,
                  CASE WHEN confdeltype <> 'a' THEN 'acts by itself when the row is deleted'
                       WHEN confupdtype <> 'a' THEN 'acts by itself when the key is changed'
                       ELSE 'is checked at once' END
           FROM pg_constraint WHERE contype = 'f' AND confrelid = to_regclass(%s)
             AND (confdeltype <> 'a' OR confupdtype <> 'a' OR NOT condeferred) ORDER BY conname""",
        [f'"{table}"'],
    ).fetchall()
    return [(row[0], row[1], row[2]) for row in rows]


def read_sequence(conn: Connection, table: str, column: str) -> tuple[str, int] | None:
    """The sequence that feeds `table.column` and its last value; None when none does."""
    name = conn.execute("SELECT pg_get_serial_sequence(%s, %s)", [f'"{table}"', column]).fetchone()
    if name is None or name[0] is None:
        return None
    value = conn.execute("SELECT COALESCE(pg_sequence_last_value(%s::regclass), 0)", [name[0]]).fetchone()
    return str(name[0]), int(value[0]) if value else 0


def estimated_rows(conn: Connection, table: str) -> int:
    """The planner's estimate of a table's rows; it reckons with its present size, analysed or not."""
    if read_table(conn, table) is None:
        return 0
    plan = conn.execute(sql.SQL("EXPLAIN SELECT FROM {}").format(sql.Identifier(table))).fetchone()
    found = re.search(r" rows=(\d+) ", str(plan[0])) if plan else None
    return int(found[1]) if found else 0
