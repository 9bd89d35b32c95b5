"""The roles and rights of one side: an owner who makes the tables, an application that reads and writes rows.

Statements, in two parts: what any session of the server may run, and what has to be run inside the side's database.
Run again they change nothing. Roles are made without a password; nobody logs in before they have one.
"""

from collections.abc import Iterator

from migration_tools.stores.postgres.connection import sql


def owner_of(side: str) -> str:
    """Makes tables; relays and consumers run as it."""
    return f"{side}_owner"


def app_of(side: str) -> str:
    """Reads and writes rows; web processes run as it."""
    return f"{side}_app"


def make_role(role: str) -> sql.Composed:
    """A login role of its own."""
    return sql.SQL(
        "DO $$ BEGIN CREATE ROLE {} LOGIN INHERIT; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    ).format(sql.Identifier(role))


def make_database(database: str, side: str | None = None) -> sql.Composed:
    """Owned by the side, or by whoever makes it; outside any transaction, and an error where it is already."""
    owner = sql.SQL(" OWNER {}").format(sql.Identifier(owner_of(side))) if side else sql.SQL("")
    return sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(database), owner)


def confine_database(database: str, side: str, operator: str = "") -> Iterator[sql.Composed]:
    """Inside the database: nobody gets in but the side's roles and the operator, who may act as the owner."""
    names = _names(side) | {"db": sql.Identifier(database), "operator": sql.Identifier(operator)}
    yield sql.SQL("REVOKE ALL ON DATABASE {db} FROM PUBLIC").format(**names)
    yield sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {db} TO {owner}, {app}").format(**names)
    if operator:
        yield sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {db} TO {operator}").format(**names)
        yield sql.SQL("GRANT {owner} TO {operator}").format(**names)
    yield sql.SQL("ALTER SCHEMA public OWNER TO {owner}").format(**names)
    yield sql.SQL("GRANT USAGE ON SCHEMA public TO {app}").format(**names)
    yield from _rows_for_the_app(side, None)


def close_database(database: str) -> Iterator[sql.Composed]:
    """Inside a database that several sides share: nobody gets in who is not let in, and `public` is nobody's."""
    yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))
    yield sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(sql.Identifier("public"))


def confine_schema(database: str, side: str, operator: str = "") -> Iterator[sql.Composed]:
    """Inside the shared database: a schema called like the side, which its roles alone see."""
    names = _names(side) | {"db": sql.Identifier(database), "operator": sql.Identifier(operator)}
    yield sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {db} TO {owner}, {app}").format(**names)
    yield sql.SQL("CREATE SCHEMA IF NOT EXISTS {side} AUTHORIZATION {owner}").format(**names)
    yield sql.SQL("GRANT USAGE ON SCHEMA {side} TO {app}").format(**names)
    if operator:
        yield sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {db} TO {operator}").format(**names)
        yield sql.SQL("GRANT {owner} TO {operator}").format(**names)
    yield from _rows_for_the_app(side, side)


def _rows_for_the_app(side: str, schema: str | None) -> Iterator[sql.Composed]:
    where = sql.SQL(" IN SCHEMA {}").format(sql.Identifier(schema)) if schema else sql.SQL("")
    for rights in ("SELECT, INSERT, UPDATE, DELETE ON TABLES", "USAGE, SELECT ON SEQUENCES"):
        yield sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {owner}{where} GRANT {rights} TO {app}").format(
            **_names(side), where=where, rights=sql.SQL(rights)
        )


def _names(side: str) -> dict[str, sql.Composable]:
    return {
        "side": sql.Identifier(side),
        "owner": sql.Identifier(owner_of(side)),
        "app": sql.Identifier(app_of(side)),
    }
