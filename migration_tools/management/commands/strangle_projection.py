"""Write a read model from a JOIN that was observed in the monolith."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, SettingsError, StrangleError
from migration_tools.management.examples import Examples
from migration_tools.stores.postgres import connect


class Command(Examples):
    """Reads the query and the catalog of its database; writes two files, and none that is there."""

    help = "Write a read model from a JOIN."
    examples = ("new order_list --from-sql 'SELECT …'",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        new = actions.add_parser("new", help="a module with the read model, and a test that holds it against the query")
        new.add_argument("name", help="of the read model and its view, such as order_list")
        new.add_argument("--from-sql", required=True, metavar="QUERY", help="the SELECT, or @FILE that holds it")
        new.add_argument(
            "--stream",
            action="append",
            default=[],
            metavar="TABLE=STREAM",
            help="which stream tells of a table (default: what stands before the first _ of its name)",
        )
        new.add_argument("--module", default="read_models", help="from where the test imports the read model")
        new.add_argument("--to", default=".", metavar="DIRECTORY", help="where the files are written")
        new.add_argument("--dry-run", action="store_true", help="print the files; write nothing")
        new.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            result = self._write(options)
        except (StrangleError, OSError) as error:
            code = error.exit_code if isinstance(error, StrangleError) else ExitCode.ERROR
            raise CommandError(str(error), returncode=code) from error
        self.stdout.write(json.dumps(result) if options["format"] == "json" else result["message"])

    def _write(self, options: dict[str, Any]) -> dict[str, Any]:
        try:
            from migration_tools.projections.joins import read_join
        except ModuleNotFoundError as error:
            raise SettingsError(f"{error.name!r} is not installed; pip install 'django-strangler[analysis]'") from error
        from migration_tools.projections.generation import generate

        query, name = options["from_sql"], options["name"]
        if query.startswith("@"):
            query = Path(query[1:]).read_text()
        shape = read_join(query)
        streams = {table: table.partition("_")[0] for table in shape.tables.values()}
        for each in options["stream"]:
            table, equals, stream = each.partition("=")
            if not equals or not stream:
                raise CommandError(f"--stream is {each!r}; write it as TABLE=STREAM", returncode=ExitCode.USAGE)
            streams[table] = stream
        with connect(settings().DATABASE, "projection") as conn:
            made = generate(conn, query, shape, name=name, streams=streams, module=options["module"])
        place = Path(options["to"])
        files = {
            place / f"{options['module'].rpartition('.')[2]}.py": made.module,
            place / f"test_{name}.py": made.test,
        }
        if options["dry_run"]:
            return {"files": {str(path): text for path, text in files.items()}, "message": "\n".join(files.values())}
        for path in files:
            if path.exists():
                raise StrangleError(
                    f"{str(path)!r} is there already; give another --to or --module, nothing was written"
                )
        for path, text in files.items():
            path.write_text(text)
        written = [str(path) for path in files]
        return {
            "files": written,
            "message": f"wrote {' and '.join(written)}; run the test, then strangle_rebuild {name}",
        }
