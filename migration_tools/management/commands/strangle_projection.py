"""Write a read model from a JOIN: one that was observed in the monolith, or one that is given."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, SettingsError, StrangleError
from migration_tools.generation.formatting import tidy
from migration_tools.management.examples import Examples
from migration_tools.management.observed_joins import Observed, choose, describe, observed
from migration_tools.stores.postgres import connect


class Command(Examples):
    """new reads the query and the catalog of its database, and writes two files, none that is there. observed reads."""

    help = "Write a read model from a JOIN."
    examples = (
        "new order_list --from-sql 'SELECT …'",
        "observed --trace var/traces",
        "new order_list --trace var/traces --join 1",
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        new = actions.add_parser("new", help="a module with the read model, and a test that holds it against the query")
        new.add_argument("name", help="of the read model and its view, such as order_list")
        new.add_argument("--from-sql", metavar="QUERY", help="the SELECT, or @FILE that holds it")
        _add_evidence(new)
        new.add_argument("--join", default="", help="which of the observed JOINs: its id or number, of observed")
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
        seen = actions.add_parser("observed", help="the JOINs over several contexts, and of which one can be made")
        _add_evidence(seen)
        seen.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        result = self._write(options) if options["action"] == "new" else _list(_evidence(options))
        self.stdout.write(json.dumps(result) if options["format"] == "json" else result["message"])

    def _write(self, options: dict[str, Any]) -> dict[str, Any]:
        _require_extra()
        from migration_tools.projections.generation import generate
        from migration_tools.projections.joins import read_join

        name, place = options["name"], Path(options["to"])
        query = _query(options)
        shape = read_join(query)
        streams = {table: table.partition("_")[0] for table in shape.tables.values()}
        for each in options["stream"]:
            table, equals, stream = each.partition("=")
            if not equals or not stream:
                raise CommandError(f"--stream is {each!r}; write it as TABLE=STREAM", returncode=ExitCode.USAGE)
            streams[table] = stream
        with connect(settings().DATABASE, "projection") as conn:
            made = generate(conn, shape, name=name, streams=streams, module=options["module"])
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
        tidy(files)
        written = [str(path) for path in files]
        return {
            "files": written,
            "message": f"wrote {' and '.join(written)}; run the test, then strangle_rebuild {name}",
        }


def _add_evidence(parser: CommandParser) -> None:
    parser.add_argument(
        "--trace", action="append", default=[], metavar="PATH", help="a trace, or a directory of traces; repeatable"
    )
    parser.add_argument("--report", default="", metavar="FILE", help="a report of strangle_analyze --format json")


def _require_extra() -> None:
    try:
        import sqlglot  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name!r} is not installed; pip install 'django-strangler[analysis]'") from error


def _query(options: dict[str, Any]) -> str:
    given: str | None = options["from_sql"]
    if (given is None) == (not options["trace"] and not options["report"]):
        raise CommandError("give either --from-sql, or --trace or --report", returncode=ExitCode.USAGE)
    if given is None:
        return choose(_evidence(options), options["join"]).shape
    return Path(given[1:]).read_text() if given.startswith("@") else given


def _evidence(options: dict[str, Any]) -> list[Observed]:
    _require_extra()
    if not options["trace"] and not options["report"]:
        raise CommandError("give --trace or --report: where JOINs were observed", returncode=ExitCode.USAGE)
    return observed([Path(each) for each in options["trace"]], (options["report"] and Path(options["report"])) or None)


def _list(found: list[Observed]) -> dict[str, Any]:
    fit = sum(not each.mistakes for each in found)
    message = f"{len(found)} JOINs over several contexts; a read model can be made of {fit}"
    return {
        "joins": [each.to_json() for each in found],
        "message": "\n".join([*(describe(each) for each in found), message]),
    }
