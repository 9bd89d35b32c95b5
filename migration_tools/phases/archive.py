"""Put the old tables away and bring them back: checked dump, quarantine, references cut and restored."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings

from migration_tools.errors import NotWritten, StrangleError
from migration_tools.kernel import points
from migration_tools.phases import dumps
from migration_tools.phases.surroundings import Surroundings, quarantine_schema
from migration_tools.state.journal import last_evidence, record
from migration_tools.stores.postgres import Connection, errors, sql
from migration_tools.stores.postgres.ddl import with_short_locks

NOT_VALID = " NOT VALID"
#: The journal's step that says where the final dump is, and the checksum of its manifest.
DUMPED = "dumped"


def old_tables(env: Surroundings) -> list[str]:
    """The source tables of the context's own projections, parents first."""
    owned = [r for r in env.compiled.source.relations if r.owned and r.kind == "r"]
    return list(dict.fromkeys(r.source_table for r in sorted(owned, key=lambda r: r.rank)))


def incoming_references(conn: Connection, tables: list[str]) -> list[dict[str, str]]:
    """References of other tables to these: name, table, the table referred to, and definition."""
    rows = conn.execute(
        """SELECT c.conname, c.conrelid::regclass::text, c.confrelid::regclass::text, pg_get_constraintdef(c.oid)
           FROM pg_constraint c JOIN pg_class t ON t.oid = c.confrelid JOIN pg_class o ON o.oid = c.conrelid
           WHERE c.contype = 'f' AND t.relname = ANY (%s) AND NOT o.relname = ANY (%s) ORDER BY c.conname""",
        [tables, tables],
    ).fetchall()
    return [dict(zip(("name", "table", "refers_to", "definition"), row, strict=True)) for row in rows]


def cut_references(env: Surroundings) -> dict[str, Any]:
    """Drop references of other contexts into the old tables; their definitions go into the journal first."""
    found = incoming_references(env.source, old_tables(env))
    known = remembered(env, "references_cut", "references")
    names = {each["name"] for each in known}
    cut = [*known, *(each for each in found if each["name"] not in names)]
    record(env.context, "decommission", "references_cut", {"references": cut})
    for each in found:
        drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(
            sql.SQL(each["table"]), sql.Identifier(each["name"])
        )
        with_short_locks(env.source, _both(each), partial(env.source.execute, drop), env.wait)
    return {"references_cut": [each["name"] for each in found]}


def restore_references(env: Surroundings) -> dict[str, Any]:
    """Put the dropped references back: NOT VALID first, then validated without blocking writers.

    Raises:
        StrangleError: a row refers to one that is gone; it is named, and the command goes on when that is mended.
    """
    present = {each["name"]: each["definition"] for each in incoming_references(env.source, old_tables(env))}
    restored = []
    for each in remembered(env, "references_cut", "references"):
        if not present.get(each["name"], NOT_VALID).endswith(NOT_VALID):
            continue
        table, name = sql.SQL(each["table"]), sql.Identifier(each["name"])
        definition = each["definition"].removesuffix(NOT_VALID)
        if each["name"] not in present:
            add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {} NOT VALID").format(table, name, sql.SQL(definition))
            with_short_locks(env.source, _both(each), partial(env.source.execute, add), env.wait)
        try:
            env.source.execute(sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(table, name))
        except errors.ForeignKeyViolation as error:
            raise StrangleError(
                f"reference {each['name']!r} of {each['table']!r} cannot be restored: "
                f"{error.diag.message_detail or error}; see to the rows of {each['table']!r} that refer to rows which "
                f"are gone, then run strangle_rollback {env.context} again"
            ) from error
        restored.append(each["name"])
    # Forgotten, so that a later decommission does not bring back what the monolith has dropped by itself meanwhile.
    record(env.context, "decommission", "references_cut", {"references": []})
    return {"references_restored": restored}


def _both(reference: dict[str, str]) -> list[sql.Composable]:
    """The two tables that a change of a reference locks; their names are quoted already."""
    return [sql.SQL(reference["table"]), sql.SQL(reference["refers_to"])]


def remembered(env: Surroundings, step: str, key: str) -> list[dict[str, str]]:
    """What the journal's last entry of a step holds under a key."""
    return list((last_evidence(env.context, step) or {}).get(key, []))


def place_of(env: Surroundings) -> Path:
    """Where the final dump goes: var/archive/<context> of the project unless the command names a place."""
    base = Path(getattr(django_settings, "BASE_DIR", "."))
    return Path(env.options.get("directory") or base / "var" / "archive" / env.context)


def unwritable(env: Surroundings) -> list[str]:
    """A sentence if this process could not make the final dump where it goes; found out without touching anything."""
    place = place_of(env)
    there = next(each for each in (place, *place.absolute().parents) if os.access(each, os.F_OK))
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return []
    why = "is not writable by this process" if there.is_dir() else "is no directory"
    return [f"the final dump cannot be written to {place}, because {there} {why}; name another place with --directory"]


def archive(env: Surroundings) -> dict[str, Any]:
    """Dump each old table with a checksum, prove the dump by reading it back, then move the tables to quarantine.

    Raises:
        NotWritten: the dump could not be; the tables are where they were.
        ArchiveBroken: it does not read back as the tables.
    """
    directory = place_of(env)
    schema = quarantine_schema(env.context)
    tables = [t for t in old_tables(env) if _schema_of(env.source, t) != schema]
    if not tables:
        return {"archived": [], "schema": schema}
    try:
        manifest = dumps.dump(env.source, env.context, tables, directory, env.watch())
    except OSError as error:
        remedy = "no table was moved: make room, or name another place with --directory, and run the command again"
        raise NotWritten("the final dump", directory, error, remedy) from error
    for table, made in manifest["tables"].items():
        env.heed()
        dumps.prove(env.source, table, directory, made, env.watch())
    evidence = {
        "directory": str(directory.absolute()),
        "rows": {t: m["rows"] for t, m in manifest["tables"].items()},
        "manifest_sha256": dumps.manifest_checksum(directory),
    }
    record(env.context, "decommission", DUMPED, evidence)
    points.reached("archive.dumped")
    names = [sql.Identifier(table) for table in tables]
    with_short_locks(env.source, names, partial(_quarantine, env.source, tables, schema), env.wait)
    return {"archived": tables, "schema": schema, **evidence}


def _quarantine(conn: Connection, tables: list[str], schema: str) -> None:
    # Of the tables' owner, whoever the operator is: the next one must be able to bring them back.
    owner = conn.execute("SELECT tableowner FROM pg_tables WHERE tablename = %s", [tables[0]]).fetchone()
    conn.execute(
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(
            sql.Identifier(schema), sql.Identifier(owner[0] if owner else "")
        )
    )
    for table in tables:
        conn.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(sql.Identifier(table), sql.Identifier(schema)))


def unarchive(env: Surroundings) -> dict[str, Any]:
    """Move the tables back from quarantine."""
    schema = quarantine_schema(env.context)
    rows = env.source.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
    tables = [str(row[0]) for row in rows]
    names = [sql.Identifier(schema, table) for table in tables]
    with_short_locks(env.source, names, partial(_bring_back, env.source, tables, schema), env.wait)
    return {"restored": tables}


def _bring_back(conn: Connection, tables: list[str], schema: str) -> None:
    for table in tables:
        conn.execute(
            sql.SQL("ALTER TABLE {}.{} SET SCHEMA public").format(sql.Identifier(schema), sql.Identifier(table))
        )
    conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {}").format(sql.Identifier(schema)))


def _schema_of(conn: Connection, table: str) -> str | None:
    row = conn.execute(
        "SELECT schemaname FROM pg_tables WHERE tablename = %s ORDER BY schemaname = 'public' DESC", [table]
    ).fetchone()
    return str(row[0]) if row else None
