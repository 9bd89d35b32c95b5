"""What a database says of its tables: columns, keys, references, sequences."""

import re
from dataclasses import dataclass
from typing import Any, LiteralString

from migration_tools.stores.postgres.connection import Connection, sql

# Built-in types of which two values are equal only if they are the same, so that `=` sees each change. Of others
# it does not (citext, interval, -0, numeric without a scale, jsonb), or there is none (json, xml, point).
_EXACT = re.compile(
    r"(bigint|integer|smallint|boolean|uuid|date|bytea|inet|cidr|macaddr|money|oid|name"
    r"|timestamp(\(\d\))? with(out)? time zone|time(\(\d\))? without time zone|\"bit\"|bit varying"
    r"|text|character varying|numeric\(\d+,\d+\))\Z"
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column as PostgreSQL knows it; types are format_type's spelling, castable.

    `base` is the type below its domains, without the length of a string: a cast to it cuts nothing, and what is too
    long fails where it is stored. `wire` is the type that a value is cast to on the other server, which need not
    know this one's own types: `base` if it is built in, text otherwise. `exact` says whether equal means the same;
    `loose` whether the column finds texts equal that differ (citext, a nondeterministic collation).
    """

    name: str
    type: str
    base: str
    wire: str
    required: bool
    has_default: bool
    generated: bool
    identity: bool
    always: bool
    exact: bool
    loose: bool


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
    """A table's shape; `unique` holds the column sets that identify a row, the primary key among them.

    `key_alone`: it is no partitioned table, and nothing in it is unique but the primary key.
    """

    name: str
    columns: dict[str, Column]
    key: tuple[str, ...]
    unique: tuple[frozenset[str], ...]
    references: tuple[ForeignKey, ...]
    key_alone: bool


def read_table(conn: Connection, name: str) -> Table | None:
    """Describe the table that `name` means on this connection's search path; None when there is none."""
    found = conn.execute(
        """SELECT oid, relkind = 'r' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
                      AND NOT i.indisprimary AND (i.indisunique OR i.indisexclusion))
           FROM pg_class c WHERE oid = to_regclass(%s) AND relkind IN ('r', 'p')""",
        [f'"{name}"'],
    ).fetchone()
    if found is None:
        return None
    oid = found[0]
    columns = {row[0]: _column(row) for row in conn.execute(_COLUMNS, [oid, oid])}
    unique = conn.execute(
        """SELECT array_agg(a.attname::text) FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) k(attnum)
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
           WHERE i.indrelid = %s AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
             AND i.indnatts = i.indnkeyatts GROUP BY i.indexrelid""",
        [oid],
    ).fetchall()
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
    return Table(
        name=name,
        columns=columns,
        key=tuple((key and key[0]) or ()),
        unique=tuple(frozenset(row[0]) for row in unique),
        references=references,
        key_alone=bool(found[1]),
    )


_COLUMNS = """
    WITH RECURSIVE types AS (
        SELECT attnum, atttypid AS oid, atttypmod AS typmod FROM pg_attribute
        WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
      UNION ALL
        SELECT d.attnum, t.typbasetype, t.typtypmod FROM types d JOIN pg_type t ON t.oid = d.oid WHERE t.typtype = 'd')
    SELECT a.attname, format_type(a.atttypid, a.atttypmod),
           format_type(b.oid, CASE WHEN ltrim(b.typname, '_') IN ('varchar', 'bpchar', 'bit', 'varbit') THEN -1
                                   ELSE b.typmod END),
           b.typnamespace = 'pg_catalog'::regnamespace,
           a.attnotnull OR EXISTS (SELECT FROM types d JOIN pg_type t ON t.oid = d.oid
                                   WHERE d.attnum = a.attnum AND t.typtype = 'd' AND t.typnotnull),
           a.atthasdef OR a.attidentity <> '', a.attgenerated <> '', a.attidentity,
           COALESCE((SELECT NOT collisdeterministic FROM pg_collation c WHERE c.oid = a.attcollation), false)
             OR b.typname = 'citext'
    FROM pg_attribute a
    JOIN LATERAL (SELECT d.oid, d.typmod, t.typname, t.typnamespace FROM types d JOIN pg_type t ON t.oid = d.oid
                  WHERE d.attnum = a.attnum AND t.typtype <> 'd') b ON true
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""


def _column(row: tuple[Any, ...]) -> Column:
    name, type_, base, built_in, required, has_default, generated, identity, loose = row
    return Column(
        name=name,
        type=type_,
        base=base,
        wire=base if built_in else "text",
        required=required,
        has_default=has_default,
        generated=generated,
        identity=identity != "",
        always=identity == "a",
        exact=not loose and _EXACT.match(base) is not None,
        loose=loose,
    )


def read_partitions(conn: Connection, table: str) -> list[str]:
    """The partitions of a table, at every level; none if it is not partitioned."""
    rows = conn.execute(
        """SELECT c.relname FROM pg_partition_tree(to_regclass(%s)) p JOIN pg_class c ON c.oid = p.relid
           WHERE p.level > 0 AND c.relkind IN ('r', 'p') ORDER BY p.level, c.relname""",
        [f'"{table}"'],
    )
    return [str(row[0]) for row in rows]


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
    """The sequence that feeds `table.column` and its last value; None when none does.

    It may belong to the column (serial, identity) or only be what its default draws from.
    """
    name = conn.execute(
        """SELECT COALESCE(pg_get_serial_sequence(%(table)s, a.attname)::regclass,
                  (SELECT s.oid::regclass FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass
                          AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
                   JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
                   WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum LIMIT 1))::text
           FROM pg_attribute a WHERE a.attrelid = to_regclass(%(table)s) AND a.attname = %(column)s""",
        {"table": f'"{table}"', "column": column},
    ).fetchone()
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


def understand(conn: Connection, query: LiteralString) -> None:
    """Have a query parsed and its names and types resolved, and nothing more; an error says what is wrong with it.

    Not by EXPLAIN: planning a join looks into indexes, which the server counts as reads of their tables. Who looks at a
    context every few seconds would so keep its old tables from ever being quiet.
    """
    conn.execute("PREPARE strangle_understand AS " + query)
    conn.execute("DEALLOCATE strangle_understand")


def average_row_bytes(conn: Connection, table: str) -> float:
    """About how many bytes a row of the table takes on disk, its large values included; 0 when nothing is known."""
    found = conn.execute(
        """SELECT CASE WHEN reltuples > 0 THEN pg_table_size(oid) / reltuples ELSE 0 END::float8
           FROM pg_class WHERE oid = to_regclass(%s)""",
        [f'"{table}"'],
    ).fetchone()
    return float(found[0]) if found else 0.0
