"""A table's definition as JSON values, and the table made of it again in another database.

Only what a restore needs: columns, own sequences, constraints, indexes, and the enumerations and extensions behind the
columns' types. Names are as this connection's search path spells them, and are made where the other's leads first.
"""

from typing import Any

from migration_tools.stores.postgres.connection import Connection, sql

_COLUMNS = """
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
           a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid),
           (SELECT format('%%I.%%I', n.nspname, c.collname) FROM pg_collation c JOIN pg_namespace n
              ON n.oid = c.collnamespace WHERE c.oid = a.attcollation AND a.attcollation <> t.typcollation)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_SEQUENCES = """
    SELECT c.relname::text, a.attname::text, d.deptype::text, s.last_value
    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    JOIN pg_sequences s ON s.schemaname = c.relnamespace::regnamespace::text AND s.sequencename = c.relname
    WHERE d.refobjid = %s::regclass AND d.deptype IN ('a', 'i') ORDER BY 1"""
_CONSTRAINTS = """
    SELECT conname::text, contype::text, pg_get_constraintdef(oid), confrelid::regclass::text
    FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('p', 'u', 'c', 'x', 'f')
    ORDER BY array_position('{p,u,x,c,f}', contype::text), conname"""
_INDEXES = """
    SELECT pg_get_indexdef(i.indexrelid, 0, true) FROM pg_index i
    WHERE i.indrelid = %s::regclass
      AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.conrelid = i.indrelid)
    ORDER BY 1"""
_TYPES = """
    SELECT DISTINCT format_type(e.oid, NULL), e.typtype::text, x.extname::text,
           (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = e.oid)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type e ON e.oid = COALESCE(NULLIF(t.typelem, 0), t.oid)
    LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = e.oid AND d.deptype = 'e'
    LEFT JOIN pg_extension x ON x.oid = d.refobjid
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
      AND e.typnamespace <> 'pg_catalog'::regnamespace ORDER BY 1"""


def read_definition(conn: Connection, table: str) -> dict[str, Any]:
    """What `create` and `complete` need to make the table again."""
    name = [sql.Identifier(table).as_string(conn)]
    names = ("name", "type", "required", "identity", "generated", "default", "collation")
    return {
        "columns": [dict(zip(names, row, strict=True)) for row in conn.execute(_COLUMNS, name)],
        "sequences": [
            {"name": row[0], "column": row[1], "identity": row[2] == "i", "last": row[3]}
            for row in conn.execute(_SEQUENCES, name)
        ],
        "constraints": [
            {"name": row[0], "kind": row[1], "definition": row[2], "refers_to": row[3] if row[1] == "f" else None}
            for row in conn.execute(_CONSTRAINTS, name)
        ],
        "indexes": [row[0] for row in conn.execute(_INDEXES, name)],
        "enumerations": {row[0]: row[3] for row in conn.execute(_TYPES, name) if row[1] == "e"},
        "extensions": sorted({row[2] for row in conn.execute(_TYPES, name) if row[2]}),
    }


def create(conn: Connection, table: str, definition: dict[str, Any]) -> None:
    """Make the bare table: columns, types and sequences; nothing that refers to another one."""
    for extension in definition["extensions"]:
        conn.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension)))
    for name, labels in definition["enumerations"].items():
        if conn.execute("SELECT to_regtype(%s)", [name]).fetchone() == (None,):
            values = sql.SQL(", ").join(sql.Literal(label) for label in labels)
            conn.execute(sql.SQL("CREATE TYPE {} AS ENUM ({})").format(sql.SQL(name), values))
    for each in definition["sequences"]:
        if not each["identity"]:
            conn.execute(sql.SQL("CREATE SEQUENCE {}").format(sql.Identifier(each["name"])))
    columns = sql.SQL(", ").join(_column(each) for each in definition["columns"])
    conn.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table), columns))


def complete(conn: Connection, table: str, definition: dict[str, Any], *, among: set[str]) -> list[str]:
    """When rows are in: sequences, indexes, and constraints; give those that refer to a table not `among` these.

    Call it first without references of tables that are not complete yet: `among` empty makes none.
    """
    name, left_out = sql.Identifier(table), []
    for each in definition["sequences"]:
        own = conn.execute("SELECT pg_get_serial_sequence(%s, %s)", [name.as_string(conn), each["column"]]).fetchone()
        sequence = own[0] if own and own[0] else sql.Identifier(each["name"]).as_string(conn)
        if each["last"] is not None:
            conn.execute("SELECT setval(%s::regclass, %s)", [sequence, each["last"]])
        if not each["identity"]:
            conn.execute(
                sql.SQL("ALTER SEQUENCE {} OWNED BY {}.{}").format(
                    sql.Identifier(each["name"]), name, sql.Identifier(each["column"])
                )
            )
    for each in definition["constraints"]:
        if each["kind"] == "f":
            if each["refers_to"] not in among:
                left_out.append(each["name"])
            continue
        _constrain(conn, name, each)
    for index in definition["indexes"]:
        conn.execute(sql.SQL(index))
    return left_out


def refer(conn: Connection, table: str, definition: dict[str, Any], *, among: set[str]) -> None:
    """The references to tables `among` these, which must be complete."""
    for each in definition["constraints"]:
        if each["kind"] == "f" and each["refers_to"] in among:
            _constrain(conn, sql.Identifier(table), each)


def _constrain(conn: Connection, table: sql.Identifier, constraint: dict[str, Any]) -> None:
    conn.execute(
        sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
            table, sql.Identifier(constraint["name"]), sql.SQL(constraint["definition"])
        )
    )


def _column(column: dict[str, Any]) -> sql.Composed:
    parts = [sql.Identifier(column["name"]), sql.SQL(column["type"])]
    if column["collation"]:
        parts.append(sql.SQL("COLLATE " + column["collation"]))
    if column["generated"]:
        parts.append(sql.SQL(f"GENERATED ALWAYS AS ({column['default']}) STORED"))
    elif column["identity"]:
        how = "ALWAYS" if column["identity"] == "a" else "BY DEFAULT"
        parts.append(sql.SQL(f"GENERATED {how} AS IDENTITY"))
    elif column["default"] is not None:
        parts.append(sql.SQL("DEFAULT " + column["default"]))
    if column["required"]:
        parts.append(sql.SQL("NOT NULL"))
    return sql.SQL(" ").join(parts)
