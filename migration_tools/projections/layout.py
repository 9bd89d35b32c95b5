"""The tables of a slot in PostgreSQL, made from the declaration, and the views that show readers the live one."""

from collections.abc import Mapping

from migration_tools.errors import StrangleError
from migration_tools.projections.columns import Copied, Counted, Gathered, Summed
from migration_tools.projections.declaration import ReadModel, Table
from migration_tools.projections.slots import BUILDING, LIVE, Slot, building, live, note, slots
from migration_tools.stores.postgres import Connection, sql

# Types are named here once more, as SQL: a declaration's text never becomes SQL.
SQL_TYPES: Mapping[str, sql.SQL] = {
    "text": sql.SQL("text"),
    "integer": sql.SQL("integer"),
    "bigint": sql.SQL("bigint"),
    "numeric": sql.SQL("numeric"),
    "boolean": sql.SQL("boolean"),
    "uuid": sql.SQL("uuid"),
    "date": sql.SQL("date"),
    "timestamptz": sql.SQL("timestamptz"),
    "jsonb": sql.SQL("jsonb"),
}


def table_name(table: str, slot: int) -> str:
    """What a table is called in a slot."""
    return f"{table}_s{slot}"


def type_of(model: ReadModel, table: Table, name: str) -> str:
    """The type of a key or another column; a copied one has that of what it copies."""
    if name in table.key:
        return table.key[name]
    column = table.columns[name]
    if isinstance(column, Copied):
        return type_of(model, model.table(table.references[column.via].to), column.column)
    return column.type


def install(conn: Connection, model: ReadModel) -> bool:
    """Make the first slot of a read model and its views, in the running transaction; False when it has one.

    Raises:
        StrangleError: a relation that is not its view has the name of one of its tables.
    """
    if slots(conn, model.name):
        return False
    slot = make(conn, model, number=1, state=LIVE)
    if not model.store:
        show(conn, model, slot)
    return True


def make(
    conn: Connection, model: ReadModel, *, number: int, state: str, after: Mapping[str, int] | None = None
) -> Slot:
    """Make the empty tables of a slot and note it, in the running transaction."""
    if not model.store:
        for table in model.tables:
            _create(conn, model, table, number)
    slot = Slot(
        model=model.name,
        number=number,
        state=state,
        fingerprint=model.fingerprint(),
        version=model.version,
        held={table.name: tuple(table.columns) for table in model.tables},
        origins={},
        after=dict(after or {}),
        complete=(),
    )
    note(conn, slot)
    return slot


def _create(conn: Connection, model: ReadModel, table: Table, slot: int) -> None:
    name = sql.Identifier(table_name(table.name, slot))
    parts: list[sql.Composable] = [
        sql.SQL("{} {} NOT NULL").format(sql.Identifier(key), SQL_TYPES[kind]) for key, kind in table.key.items()
    ]
    parts += [
        sql.SQL("{} {}").format(sql.Identifier(each), SQL_TYPES[type_of(model, table, each)]) for each in table.columns
    ]
    parts.append(sql.SQL("_versions jsonb NOT NULL, _seen boolean NOT NULL, _gone boolean NOT NULL"))
    parts.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, table.key))))
    conn.execute(sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(", ").join(parts)))
    for index in sorted({*table.indexes, *_looked_up(model, table)} - {tuple(table.key)}):
        columns = [
            sql.SQL("{} DESC" if each.startswith("-") else "{}").format(sql.Identifier(each.removeprefix("-")))
            for each in index
        ]
        conn.execute(sql.SQL("CREATE INDEX ON {} ({})").format(name, sql.SQL(", ").join(columns)))
    _close(conn, table_name(table.name, slot))


def _looked_up(model: ReadModel, table: Table) -> set[tuple[str, ...]]:
    """Columns by which rows of this table are found when another one changes."""
    found: set[tuple[str, ...]] = {(name,) for name in table.references}
    for other in model.tables:
        for column in other.columns.values():
            if isinstance(column, Gathered | Counted | Summed) and column.table == table.name:
                found.add((column.by,))
    return found


def show(conn: Connection, model: ReadModel, slot: Slot) -> None:
    """Let readers see a slot: point the views at its tables, in the running transaction.

    A view whose columns are still the first ones is replaced in place; another is made anew with the same grants.

    Raises:
        StrangleError: a relation that is no view has that name.
    """
    for table in model.tables:
        if table.private:
            continue
        kind = _kind(conn, table.name)
        if kind not in (None, "v"):
            raise StrangleError(
                f"{table.name!r} is the name of a view of read model {model.name!r}, but a relation of that name is "
                "there; rename one of them"
            )
        shown = [*table.key, *slot.held[table.name]]
        now, then = _columns(conn, table.name) if kind else [], _columns(conn, table_name(table.name, slot.number))
        wanted = [(each, dict(then)[each]) for each in shown]
        readers = _grantees(conn, table.name, ["SELECT"])
        if now != wanted[: len(now)]:
            conn.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(table.name)))
        conn.execute(
            sql.SQL("CREATE OR REPLACE VIEW {} AS SELECT {} FROM {} WHERE _seen AND NOT _gone").format(
                sql.Identifier(table.name),
                sql.SQL(", ").join(map(sql.Identifier, shown)),
                sql.Identifier(table_name(table.name, slot.number)),
            )
        )
        for role in readers:
            conn.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(table.name), role))
        _close(conn, table.name)


def _close(conn: Connection, name: str) -> None:
    """Let nobody but the owner, who runs the consumers, write to a table or a view, whatever the defaults say."""
    for role in _grantees(conn, name, ["INSERT", "UPDATE", "DELETE", "TRUNCATE"]):
        conn.execute(
            sql.SQL("REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {} FROM {}").format(sql.Identifier(name), role)
        )


def drop(conn: Connection, slot: Slot) -> None:
    """Drop a slot's tables and forget it, in the running transaction."""
    for table in slot.held:
        conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table_name(table, slot.number))))
    conn.execute("DELETE FROM strangle_read_slot WHERE model = %s AND slot = %s", [slot.model, slot.number])


def _kind(conn: Connection, name: str) -> str | None:
    row = conn.execute(
        "SELECT relkind::text FROM pg_class WHERE relname = %s AND relnamespace = current_schema()::regnamespace",
        [name],
    ).fetchone()
    return str(row[0]) if row else None


def _columns(conn: Connection, name: str) -> list[tuple[str, str]]:
    rows = conn.execute(
        """SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
           WHERE attnum > 0 AND NOT attisdropped
             AND attrelid = (quote_ident(current_schema()) || '.' || quote_ident(%s))::regclass ORDER BY attnum""",
        [name],
    )
    return [(str(row[0]), str(row[1])) for row in rows]


def _grantees(conn: Connection, name: str, privileges: list[str]) -> list[sql.Composable]:
    """Who beside the owner has one of these rights to a table or a view."""
    rows = conn.execute(
        """SELECT DISTINCT g.grantee::text FROM information_schema.table_privileges g
           JOIN pg_class c ON c.relname = g.table_name AND c.relnamespace = g.table_schema::regnamespace
           WHERE g.table_schema = current_schema() AND g.table_name = %s AND g.privilege_type = ANY (%s)
             AND g.grantee <> pg_get_userbyid(c.relowner)""",
        [name, privileges],
    )
    return [sql.SQL("PUBLIC") if row[0] == "PUBLIC" else sql.Identifier(row[0]) for row in rows]


__all__ = ["BUILDING", "LIVE", "building", "drop", "install", "live", "make", "show", "table_name", "type_of"]
