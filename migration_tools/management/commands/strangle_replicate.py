"""What is kept of other services: show it, compare it with its source, build it anew, poll, send commands."""

import json
import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.errors import ExitCode, ReplicationError
from migration_tools.management.examples import Examples
from migration_tools.management.signals import heed_signals, watch


class Command(Examples):
    """Runs in the service that keeps the copies."""

    help = "Copies of other services' data, polls and commands."
    examples = ("reconcile customers",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        tasks = parser.add_subparsers(dest="task", required=True)
        for name, text in (
            ("status", "copies, polls and commands, with their ages"),
            ("poll", "ask what is declared as polls, when it is due, until SIGTERM"),
            ("send", "send commands, until SIGTERM"),
            ("dead", "list commands that were given up"),
        ):
            task = tasks.add_parser(name, help=text)
            task.add_argument("--format", choices=["text", "json"], default="text", help="how to print")
            if name in ("poll", "send"):
                task.add_argument("--once", action="store_true", help="do what is due now, then end")
        for name, text in (
            ("reconcile", "compare a copy with its source; exit code 3 if they differ"),
            ("rebuild", "learn every row of a copy from its source again"),
        ):
            task = tasks.add_parser(name, help=text)
            task.add_argument("copy", help="the copy's name")
            task.add_argument("--format", choices=["text", "json"], default="text", help="how to print")
            if name == "reconcile":
                task.add_argument("--repair", action="store_true", help="make the copy equal")
            task.add_argument("--dry-run", action="store_true", help="only compare the copy with its source")
        task = tasks.add_parser("retry", help="send a command again that was given up, under its old key")
        task.add_argument("key", help="the command's id")
        task.add_argument("--dry-run", action="store_true", help="say whether there is one; touch nothing")
        task.add_argument("--format", choices=["text", "json"], default="text", help="how to print")

    def handle(self, *args: Any, **options: Any) -> None:
        code = getattr(self, f"_{options['task']}")(options)
        if code:
            raise SystemExit(int(code))

    def _status(self, options: dict[str, Any]) -> None:
        from migration_tools.replication.status import status

        self._print(options, status())

    def _reconcile(self, options: dict[str, Any]) -> ExitCode:
        from migration_tools.replication.declaration import named
        from migration_tools.replication.reconciling import reconcile

        stop, quiet = threading.Event(), options["format"] == "json"
        with heed_signals(stop):
            found = reconcile(
                named(options["copy"]),
                repair=options["repair"] and not options["dry_run"],
                watch=watch(stop, quiet=quiet),
            )
        self._print(options, found.to_json(), _would(found, "with --repair they would be made equal"))
        mended = options["repair"] and not options["dry_run"]
        return ExitCode.DONE if found.equal or mended else ExitCode.DIFFERENCES

    def _rebuild(self, options: dict[str, Any]) -> None:
        from migration_tools.replication.declaration import named
        from migration_tools.replication.reconciling import rebuild, reconcile

        stop = threading.Event()
        with heed_signals(stop):
            watched = watch(stop, quiet=options["format"] == "json")
            if options["dry_run"]:
                found = reconcile(named(options["copy"]), repair=False, watch=watched)
                self._print(options, found.to_json(), _would(found, "all rows would be learned from it again"))
                return
            self._print(options, rebuild(named(options["copy"]), watch=watched).to_json())

    def _poll(self, options: dict[str, Any]) -> None:
        from migration_tools.replication import polling

        stop = threading.Event()
        with heed_signals(stop):
            if options["once"]:
                polling.ask_due(self.stderr.write)
            else:
                polling.run(stop, self.stderr.write)

    def _send(self, options: dict[str, Any]) -> None:
        from migration_tools.replication import commands

        stop = threading.Event()
        with heed_signals(stop):
            if not options["once"]:
                commands.run(stop)
            while options["once"] and not stop.is_set() and commands.send_due() is not None:
                pass

    def _dead(self, options: dict[str, Any]) -> None:
        from migration_tools.replication import commands

        self._print(options, {"dead": commands.listed()})

    def _retry(self, options: dict[str, Any]) -> None:
        from migration_tools.replication import commands

        dead = {str(each["id"]) for each in commands.listed()} if options["dry_run"] else set()
        if not (options["key"] in dead if options["dry_run"] else commands.retry(options["key"])):
            raise ReplicationError(f"no dead command has the id {options['key']!r}; strangle_replicate dead lists them")
        would = f"Command {options['key']} would be sent again, under its old key; nothing was touched."
        self._print(options, {"would_be_retried" if options["dry_run"] else "retried": options["key"]}, would)

    def _print(self, options: dict[str, Any], found: dict[str, Any], would: str = "") -> None:
        """Print what was found; with --dry-run `would`, the same as sentences."""
        if options["format"] == "json":
            self.stdout.write(json.dumps(found))
            return
        if options.get("dry_run"):
            self.stdout.write(would)
            return
        for name, value in found.items():
            self.stdout.write(f"{name}: {value if isinstance(value, str | int) else json.dumps(value)}")


def _would(found: Any, then: str) -> str:
    """What a comparison says of what would be done."""
    differences = f"{len(found.missing)} are missing, {len(found.changed)} differ, {len(found.extra)} are too many"
    told = "the copy equals its source" if found.equal else differences
    return f"Of {found.rows} rows of the source of {found.copy!r}: {told}; {then}. Nothing was touched."
