"""Turn a foreign key that leads to another context into a loose one, and name the keys that refer to nothing."""

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, SeamError
from migration_tools.generation.formatting import tidied
from migration_tools.generation.loose_key import loosen
from migration_tools.management.examples import Examples
from migration_tools.seams.loose_key import LooseForeignKey, OnGone, orphans
from migration_tools.seams.owners import Existing, by_api, in_database, token_of
from migration_tools.stores.postgres import connect

SHOWN = 20


class Command(Examples):
    """new: changes a model's module and writes beside it. orphans: reads only."""

    help = "Loosen a foreign key, or name the keys that refer to nothing."
    examples = ("new payments.Payment.order --dry-run", "orphans payments.Payment.order_id --owner orders")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        new = actions.add_parser("new", help="write the declaration, the schema migration and the handler of deletions")
        new.add_argument("field", help="the foreign key, as app_label.Model.field")
        new.add_argument("--on-gone", choices=[each.value for each in OnGone], default="", help=(
            "what follows a deletion; default: as its on_delete"))  # fmt: skip
        new.add_argument("--stream", default="", help="who tells of the owner's rows; default: as its table is called")
        new.add_argument("--event", default="", help="the event of a deletion; default: <table>.deleted")
        new.add_argument("--dry-run", action="store_true", help="print the differences; write nothing")
        new.add_argument("--format", choices=["text", "json"], default="text")
        lost = actions.add_parser("orphans", help="keys of loose keys that the owner does not have; exit code 3 if any")
        lost.add_argument("field", nargs="*", help="loose keys, as app_label.Model.field; default: all")
        lost.add_argument("--owner", metavar="ALIAS", help="the database that has the owner's table; default: this one")
        lost.add_argument("--table", default="", help="the owner's table there; default: as the model's here")
        lost.add_argument("--key", default="", help="its key column, or the key in the API's answer; default: id")
        lost.add_argument("--url", default="", help="ask the owner's API by ?ids= and not a database")
        lost.add_argument("--token-from", default="", metavar="VARIABLE", help="environment variable with its token")
        lost.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "new":
            self._new(options)
        else:
            self._orphans(options)

    def _new(self, options: dict[str, Any]) -> None:
        made = loosen(options["field"], on_gone=options["on_gone"], stream=options["stream"], event=options["event"])
        files = {path: _as_it_was(path, text) for path, text in made.files.items()}
        if options["dry_run"]:
            message = f"{len(made.files)} files would be written; nothing was touched"
            changes = "".join(_difference(path, text) for path, text in files.items())
            if options["format"] == "text":
                self.stdout.write(changes, ending="")
        else:
            for path, text in files.items():
                path.write_text(text)
            message = (
                f"{len(made.files)} files are written; the field is {made.name!r} now and a number. Mend the code that "
                "follows the key (strangle_analyze --call-sites), let the owner publish the event, then migrate"
            )
        if options["format"] == "json":
            texts = {_shown(path): text for path, text in files.items()}
            told = {"field": made.name, "on_gone": made.on_gone.value, "files": texts, "message": message}
            self.stdout.write(json.dumps(told))
        else:
            for path in [] if options["dry_run"] else made.files:
                self.stdout.write(f"  {_shown(path)}")
            self.stdout.write(message)

    def _orphans(self, options: dict[str, Any]) -> None:
        fields = list(_loose_keys(options["field"]))
        if len({each.to for each in fields}) > 1 and (options["table"] or options["url"]):
            raise CommandError(
                "--table and --url are of one owner; name loose keys on one model", returncode=ExitCode.USAGE
            )
        found, lines = [], []
        for field in fields:
            name = f"{field.model._meta.label}.{field.name}"
            with _owner(field.to, options) as existing:
                lost = list(orphans(field, existing, using=settings().DATABASE))
            found.append({"field": name, "to": field.to, "orphans": lost})
            shown = ", ".join(map(str, lost[:SHOWN])) + (", …" if len(lost) > SHOWN else "")
            lines.append(f"{name} → {field.to}: " + (f"{len(lost)} refer to nothing: {shown}" if lost else "none"))
        total = sum(bool(each["orphans"]) for each in found)
        code = ExitCode.DIFFERENCES if total else ExitCode.DONE
        message = f"{len(found)} loose keys looked at, {total} of them have orphans"
        if options["format"] == "json":
            self.stdout.write(json.dumps({"keys": found, "message": message, "exit_code": int(code)}))
        else:
            for line in (*lines, message):
                self.stdout.write(line)
        if total:
            raise CommandError("keys refer to nothing; delete their rows, or set them NULL", returncode=code)


@contextmanager
def _owner(to: str, options: dict[str, Any]) -> Iterator[Existing]:
    if options["url"]:
        yield by_api(options["url"], key=options["key"], token=token_of(options["token_from"]))
        return
    with connect(options["owner"] or settings().DATABASE, "orphans") as conn:
        yield in_database(conn, to, options["table"], options["key"])


def _loose_keys(labels: list[str]) -> Iterator[LooseForeignKey]:
    known = {
        f"{model._meta.label}.{field.name}": field
        for model in apps.get_models()
        for field in model._meta.local_concrete_fields
        if isinstance(field, LooseForeignKey)
    }
    for label in labels or known:
        if label not in known:
            raise SeamError(f"no loose key is called {label!r}; there are {sorted(known)}")
        yield known[label]


def _as_it_was(path: Path, text: str) -> str:
    """Formatted, unless it is a file that was not: what the command does not mean to change stays as it is."""
    had = path.read_text() if path.exists() else ""
    return text if had and tidied(had, str(path)) != had else tidied(text, str(path))


def _difference(path: Path, text: str) -> str:
    had = path.read_text() if path.exists() else ""
    before, after = (each.splitlines(keepends=True) for each in (had, text))
    return "".join(difflib.unified_diff(before, after, _shown(path), _shown(path)))


def _shown(path: Path) -> str:
    """From the current folder, where it is below that."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
