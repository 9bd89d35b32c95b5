"""A database role for each context that may write its own tables alone: PostgreSQL refuses a wrong write too."""

from collections.abc import Iterator

from migration_tools.analysis.context_map import ContextMap
from migration_tools.errors import AnalysisError
from migration_tools.stores.postgres import Connection, sql

_LARGEST_NAME = 63


def role_of(context: str, prefix: str = "") -> str:
    """The role's name.

    Raises:
        AnalysisError: PostgreSQL would cut it short.
    """
    name = f"{prefix}{context}_writer"
    if len(name.encode()) > _LARGEST_NAME:
        raise AnalysisError(f"the role {name!r} is longer than {_LARGEST_NAME} bytes; choose a shorter --prefix")
    return name


def statements(contexts: ContextMap, prefix: str = "") -> Iterator[sql.Composed]:
    """Roles without login, to be granted to login roles: all may read, each may write its own, all the framework's.

    Run as the owner of the tables with the right to create roles; running them again changes nothing.
    """
    everyone = [each for each in contexts.contexts.values() if not each.framework and each.tables]
    shared = [table for each in contexts.contexts.values() if each.framework for table in each.tables]
    all_tables = [table for each in contexts.contexts.values() for table in each.tables]
    for context in everyone:
        role = sql.Identifier(role_of(context.name, prefix))
        yield sql.SQL(
            "DO $$ BEGIN CREATE ROLE {role} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        ).format(role=role)
        yield sql.SQL("REVOKE ALL ON {tables} FROM {role}").format(tables=_names(all_tables), role=role)
        yield sql.SQL("GRANT SELECT ON {tables} TO {role}").format(tables=_names(all_tables), role=role)
        own = _names([*context.tables, *shared])
        yield sql.SQL("GRANT INSERT, UPDATE, DELETE ON {tables} TO {role}").format(tables=own, role=role)


def sequences(conn: Connection, contexts: ContextMap, prefix: str = "") -> Iterator[sql.Composed]:
    """The rights on the sequences behind the tables' keys, which only the database knows."""
    shared = [table for each in contexts.contexts.values() if each.framework for table in each.tables]
    for context in contexts.contexts.values():
        if context.framework or not context.tables:
            continue
        rows = conn.execute(
            "SELECT DISTINCT s.relname FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype IN ('a', 'i') "
            "JOIN pg_class t ON t.oid = d.refobjid WHERE s.relkind = 'S' AND t.relname = ANY (%s) "
            "AND t.relnamespace = current_schema()::regnamespace ORDER BY 1",
            [[*context.tables, *shared]],
        ).fetchall()
        names = [str(name) for (name,) in rows]
        if names:
            yield sql.SQL("GRANT USAGE, SELECT ON SEQUENCE {names} TO {role}").format(
                names=_names(names), role=sql.Identifier(role_of(context.name, prefix))
            )


def _names(names: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in dict.fromkeys(names))
