"""A database, or a schema, of its own for a service, and the roles that see no other: as SQL, or run at once."""

import json
import re
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import ExitCode
from migration_tools.management.examples import Examples
from migration_tools.stores.postgres import Connection, connect, errors, sql
from migration_tools.stores.postgres import provisioning as rights

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Command(Examples):
    """Prints what an administrator runs; with --apply runs it as the role of --database."""

    help = "Make a database or a schema of its own for a service, and its roles."
    examples = ("orders", "orders --mode schema --in shop --operator strangler", "orders --apply --database default")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("side", help="the service's name; roles are called <side>_owner and <side>_app")
        parser.add_argument("--mode", choices=["database", "schema"], default="database", help="what is the side's own")
        parser.add_argument("--in", dest="shared", help="with --mode schema: the database that several services share")
        parser.add_argument("--operator", default="", help="the role that moves contexts and may act as the owner")
        parser.add_argument("--apply", action="store_true", help="run it, on the server of --database")
        parser.add_argument("--dry-run", action="store_true", help="print it, even with --apply")
        parser.add_argument("--database", help="a Django database on that server (default: DATABASE of the settings)")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        side, database = options["side"], options["shared"] or options["side"]
        for name in (side, database, options["operator"] or side):
            if not _NAME.fullmatch(name):
                raise CommandError(
                    f"{name!r} is no usable name; use lower case letters, digits and _", returncode=ExitCode.USAGE
                )
        if (options["mode"] == "schema") is not bool(options["shared"]):
            raise CommandError("--mode schema and --in DATABASE go together", returncode=ExitCode.USAGE)
        applied = False
        if options["apply"] and not options["dry_run"]:
            try:
                self._apply(database, side, options)
            except errors.InsufficientPrivilege as error:
                raise CommandError(
                    f"{str(error).splitlines()[0]}; run it as a role with CREATEDB and CREATEROLE, or give what "
                    "--dry-run prints to an administrator",
                    returncode=ExitCode.ERROR,
                ) from error
            applied = True
        script = [*_text(_outside(side, options)), _create(_make(database, options), database), f"\\connect {database}"]
        script += _text(_inside(database, side, options))
        if options["format"] == "json":
            self.stdout.write(json.dumps({"side": side, "database": database, "sql": script, "applied": applied}))
        elif applied:
            self.stdout.write(
                f"{database!r} is there, with roles {rights.owner_of(side)!r} and {rights.app_of(side)!r}; give them "
                "passwords (\\password in psql)"
            )
        else:
            self.stdout.write("\n".join(line if "\\" in line else f"{line};" for line in script))

    def _apply(self, database: str, side: str, options: dict[str, Any]) -> None:
        alias = options["database"] or settings().DATABASE
        with connect(alias, "provision") as conn:
            _run(conn, _outside(side, options))
            found = conn.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone()
            if found is None:
                conn.execute(_make(database, options))
        with connect(alias, "provision", database=database) as conn:
            _run(conn, _inside(database, side, options))


def _outside(side: str, options: dict[str, Any]) -> Iterator[sql.Composed]:
    for role in (rights.owner_of(side), rights.app_of(side), *filter(None, [options["operator"]])):
        yield rights.make_role(role)


def _inside(database: str, side: str, options: dict[str, Any]) -> Iterator[sql.Composed]:
    if options["mode"] == "schema":
        yield from rights.close_database(database)
        yield from rights.confine_schema(database, side, options["operator"])
        return
    yield from rights.confine_database(database, side, options["operator"])


def _make(database: str, options: dict[str, Any]) -> sql.Composed:
    return rights.make_database(database, options["side"] if options["mode"] == "database" else None)


def _create(make: sql.Composed, database: str) -> str:
    r"""psql has no CREATE DATABASE IF NOT EXISTS; \gexec runs what the query gives."""
    exists = f"SELECT FROM pg_database WHERE datname = {sql.Literal(database).as_string()}"
    return f"SELECT {sql.Literal(make.as_string()).as_string()} WHERE NOT EXISTS ({exists})\\gexec"


def _run(conn: Connection, statements: Iterator[sql.Composed]) -> None:
    for statement in statements:
        conn.execute(statement)


def _text(statements: Iterator[sql.Composed]) -> list[str]:
    return [statement.as_string() for statement in statements]
