"""Install, inspect and remove what a side's database holds for a context; every step idempotent."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from migration_tools.capture.declaration import Fence, RelationSpec, SideSpec, Status, TableSpec
from migration_tools.capture.drift import compare_table, describe_made
from migration_tools.capture.layouts import note_layout, source_of
from migration_tools.capture.log_installation import drop_log, end_log, inspect_log, install_log
from migration_tools.capture.models import Side
from migration_tools.capture.refusals import drop_counter, has_counter, make_counter
from migration_tools.capture.transforms import as_json
from migration_tools.capture.triggers import create_statements, drop_statements, function_names
from migration_tools.kernel import points
from migration_tools.stores.postgres import Connection, sql, transaction
from migration_tools.stores.postgres.catalog import read_table
from migration_tools.stores.postgres.ddl import with_short_locks

__all__ = ["Finding", "Status", "inspect", "install", "remove", "remove_table", "take_off"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One object and its status; `detail` says what is not as it was made."""

    object: str
    status: Status
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.status.value} ({self.detail})" if self.detail else self.status.value


def install(conn: Connection, spec: SideSpec, *, wait: Callable[[float], None]) -> None:
    """Make the database hold exactly `spec`: relations, triggers, ownership (the source owns until a cutover).

    Note [the start of capture]. CREATE TRIGGER takes a lock that waits for every transaction that has written the
    table; one that writes later fires the trigger. So after this returns no write can be uncaptured, and any snapshot
    taken later holds all earlier writes: copying may begin.

    Each table is one short transaction with `lock_timeout`, tried again after `wait(seconds)`.

    Raises:
        FenceBusy: a table's lock was never had; what was installed stays and the same call goes on from there.
    """
    side = Side(spec.side)
    with transaction(conn):
        conn.execute(
            "INSERT INTO strangle_ownership (context, side, owner, epoch) VALUES (%s, %s, %s, 1) ON CONFLICT DO "
            "NOTHING",
            [spec.context, side.value, Side.SOURCE.value],
        )
        make_counter(conn, spec.context)
        _install_relations(conn, spec)
    points.reached("install.relations_done")
    logged = [table for table in spec.tables if table.captured and table.logged]
    if logged:
        install_log(conn, spec.context, logged, wait=wait)
    for table in spec.tables:
        _install_table(conn, table, side, wait)
        points.reached("install.table_done")
    known = {table.table for table in spec.tables}
    for row in conn.execute(
        "SELECT table_name FROM strangle_captured_table WHERE stream = %s", [spec.context]
    ).fetchall():
        if row[0] not in known:
            remove_table(conn, spec.context, row[0], wait)
    if not logged:
        end_log(conn, spec.context, forget=not spec.tables)


def remove(conn: Connection, context: str, *, wait: Callable[[float], None]) -> None:
    """Take triggers, relations and ownership of a context away; safe to repeat, whatever is left."""
    for row in conn.execute("SELECT table_name FROM strangle_captured_table WHERE stream = %s", [context]).fetchall():
        remove_table(conn, context, row[0], wait)
        points.reached("remove.table_done")
    drop_log(conn, context)
    with transaction(conn):
        conn.execute("DELETE FROM strangle_outbox WHERE stream = %s AND kind <> 'e'", [context])
        conn.execute("UPDATE strangle_relation SET active = false WHERE stream = %s", [context])
        conn.execute("DELETE FROM strangle_ownership WHERE context = %s", [context])
    drop_counter(conn, context, wait)


def inspect(conn: Connection, spec: SideSpec) -> list[Finding]:
    """Compare the database with `spec`: one finding per relation and table, and per table that it knows no more."""
    relations: dict[str, str] = dict(
        conn.execute(
            "SELECT projection || ':' || kind, declaration FROM strangle_relation WHERE stream = %s AND active",
            [spec.context],
        ).fetchall()
    )
    findings = []
    for relation in spec.relations:
        found = relations.get(f"{relation.projection}:{relation.kind}")
        findings.append(Finding(object=f"relation {relation.projection}", status=_compare(found, relation.declaration)))
    for table in spec.tables:
        findings.append(_inspect_table(conn, table))
    if any(table.fence is Fence.OWNER for table in spec.tables) and not has_counter(conn, spec.context):
        findings.append(Finding(object="the counter of refused writes", status=Status.MISSING))
    # A partition that was detached took its rows along without a write.
    tables = {
        row[0]
        for row in conn.execute(
            "SELECT table_name FROM strangle_captured_table WHERE stream = %s", [spec.context]
        ).fetchall()
    }
    left = sorted(tables - {table.table for table in spec.tables})
    findings += [Finding(object=f"capture of {name}", status=Status.UNDECLARED) for name in left]
    logged = [table for table in spec.tables if table.captured and table.logged]
    log = inspect_log(conn, spec.context, logged)
    if log is not None:
        findings.append(Finding(object="capture from the log", status=log))
    return findings


def _compare(found: str | None, wanted: str) -> Status:
    if found is None:
        return Status.MISSING
    return Status.INSTALLED if found == wanted else Status.OUTDATED


def _inspect_table(conn: Connection, table: TableSpec) -> Finding:
    name = f"triggers on {table.table}"
    row = conn.execute(
        "SELECT declaration, made FROM strangle_captured_table WHERE stream = %s AND table_name = %s",
        [table.stream, table.table],
    ).fetchone()
    status = _compare(row[0] if row else None, table.declaration)
    if row is None or status is not Status.INSTALLED:
        return Finding(object=name, status=status)
    status, detail = compare_table(conn, table.table, row[1])
    return Finding(object=name, status=status, detail=detail)


def _install_relations(conn: Connection, spec: SideSpec) -> None:
    wanted = {(r.projection, r.kind): r for r in spec.relations}
    for row in conn.execute(
        "SELECT id, projection, kind, declaration FROM strangle_relation WHERE stream = %s AND active",
        [spec.context],
    ).fetchall():
        relation = wanted.get((row[1], row[2]))
        if relation is not None and relation.declaration == row[3]:
            del wanted[(row[1], row[2])]
        else:
            conn.execute("UPDATE strangle_relation SET active = false WHERE id = %s", [row[0]])
    for relation in wanted.values():
        _insert_relation(conn, relation)


def _insert_relation(conn: Connection, relation: RelationSpec) -> None:
    dependencies = [
        {
            "table": d.table,
            "column": d.column,
            "type": d.column_type,
            "query": d.query,
            "foreign": d.foreign,
            "place": d.place,
            "source": source_of(conn, d.table, d.column),
        }
        for d in relation.dependencies
    ]
    transforms = as_json(relation.transforms, relation.column_types)
    conn.execute(
        """INSERT INTO strangle_relation (stream, projection, kind, source_table, target_table, key_columns, key_types,
               key_parts, columns, query, share, dependencies, transforms, rank, owned, declaration, active)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, true)""",
        [
            relation.stream,
            relation.projection,
            relation.kind,
            relation.source_table,
            relation.target_table,
            list(relation.key_columns),
            list(relation.key_types),
            json.dumps(
                [
                    {**asdict(part), "source": source_of(conn, relation.source_table, part.column)}
                    for part in relation.key_parts
                ]
            ),
            list(relation.columns),
            relation.query,
            relation.share,
            json.dumps(dependencies),
            json.dumps(transforms) if transforms else None,
            relation.rank,
            relation.owned,
            relation.declaration,
        ],
    )


def _install_table(conn: Connection, table: TableSpec, side: Side, wait: Callable[[float], None]) -> None:
    if _inspect_table(conn, table).status is Status.INSTALLED:
        return
    # The owner of what the functions write, and the schema: several sides may share a database, a schema each.
    here = conn.execute(
        """SELECT tableowner::text, schemaname::text FROM pg_tables
           WHERE tablename = 'strangle_ownership' AND schemaname = current_schema()"""
    ).fetchone()
    owner, schema = here or ("", "public")

    def work() -> None:
        for statement in drop_statements(table, exists=True):
            conn.execute(statement)
        layout = note_layout(conn, table)
        for statement in create_statements(table, owner=owner, side=side, layout=layout, schema=schema):
            conn.execute(statement)
        conn.execute(
            """INSERT INTO strangle_captured_table (stream, table_name, fenced, captured, declaration, made)
               VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (stream, table_name) DO UPDATE SET fenced = EXCLUDED.fenced,
                   captured = EXCLUDED.captured, declaration = EXCLUDED.declaration, made = EXCLUDED.made,
                   installed_at = clock_timestamp()""",
            [
                table.stream,
                table.table,
                table.fence is not None,
                table.captured,
                table.declaration,
                json.dumps(describe_made(conn, table.table, function_names(table).values())),
            ],
        )

    with_short_locks(conn, [sql.Identifier(table.table)], work, wait)


def take_off(conn: Connection, context: str, table: str) -> None:
    """Triggers, functions and the entry of one table, in the caller's transaction, which holds the table's lock."""
    spec = TableSpec(
        stream=context,
        table=table,
        key=(),
        is_base=False,
        watched=(),
        reported=(),
        echoes=False,
        captured=False,
        fence=None,
    )
    for statement in drop_statements(spec, exists=read_table(conn, table) is not None):
        conn.execute(statement)
    conn.execute("DELETE FROM strangle_captured_table WHERE stream = %s AND table_name = %s", [context, table])


def remove_table(conn: Connection, context: str, table: str, wait: Callable[[float], None]) -> None:
    """The same in a short transaction of its own; safe to repeat, also when the table is gone."""
    exists = read_table(conn, table) is not None
    with_short_locks(conn, [sql.Identifier(table)] if exists else [], lambda: take_off(conn, context, table), wait)
