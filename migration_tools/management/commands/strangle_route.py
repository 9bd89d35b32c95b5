"""Show and change who answers which URLs; every change is a new version with an author and a reason."""

import getpass
import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from migration_tools.errors import ExitCode, StrangleError
from migration_tools.routing import publishing
from migration_tools.routing.models import RoutingVersion
from migration_tools.routing.table import (
    RoutingTable,
    Writes,
    difference,
    to_document,
    with_reads,
    with_writes,
)


class Command(BaseCommand):
    help = (
        "Show and change the routing table. A hold is a hint to the proxy; the database's fence decides who "
        "may write. Exit codes: 0 done, 1 error (also: a proxy did not confirm), 2 usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)

        def action(name: str, text: str, *, changes: bool = False) -> ArgumentParser:
            sub = actions.add_parser(name, help=text)
            sub.add_argument("--format", choices=("text", "json"), default="text")
            if changes:
                sub.add_argument("--reason", default="", help="why, for the log")
                sub.add_argument("--author", default="", help="who, for the log (default: the system user)")
                sub.add_argument("--timeout-seconds", type=float, default=10.0, help="wait for live proxies")
                sub.add_argument("--no-wait", action="store_true", help="do not wait for live proxies")
            return sub

        action("show", "the table in force and what each live proxy applies")
        change = action("set", "change a context's routes", changes=True)
        change.add_argument("context")
        change.add_argument("assignments", nargs="+", metavar="reads=25%|writes=old|writes=new")
        action("hold", "let a context's writes wait", changes=True).add_argument("context")
        action("release", "let held writes go on where they went", changes=True).add_argument("context")
        back = action("rollback", "publish an older version again", changes=True)
        back.add_argument("version", nargs="?", type=int, help="default: the one before the current")
        action("log", "who published what and why, newest first").add_argument("--limit", type=int, default=20)
        compare = action("diff", "what changed from one version to another")
        compare.add_argument("before", type=int)
        compare.add_argument("after", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        actions: dict[str, Callable[[dict[str, Any]], None]] = {
            "show": self._show,
            "log": self._log,
            "diff": self._diff,
        }
        try:
            actions.get(options["action"], self._change)(options)
        except StrangleError as error:
            raise CommandError(str(error), returncode=error.exit_code) from error

    def _show(self, options: dict[str, Any]) -> None:
        table, proxies = publishing.current(), publishing.live_proxies()
        if options["format"] == "json":
            states = [
                {
                    "proxy": row.proxy,
                    "applied_version": row.applied_version,
                    "rejected_version": row.rejected_version,
                    "rejected_reason": row.rejected_reason,
                    "note": row.note,
                }
                for row in proxies
            ]
            return self._json({"version": table.version, **to_document(table), "proxies": states})
        self.stdout.write(f"version {table.version}; whatever no context claims goes to {table.default}")
        for name, route in sorted(table.contexts.items()):
            held = f" (before: {route.held_from})" if route.held_from else ""
            self.stdout.write(
                f"  {name}: {', '.join(route.paths)}: {route.reads_percent:g} % of reads to {route.service}, "
                f"writes: {route.writes}{held}"
            )
        for row in proxies:
            trouble = f"; refused {row.rejected_version}: {row.rejected_reason}" if row.rejected_reason else ""
            note = f"; {row.note}" if row.note else ""
            self.stdout.write(f"  proxy {row.proxy} applies version {row.applied_version}{trouble}{note}")

    def _change(self, options: dict[str, Any]) -> None:
        before = publishing.current()
        after = _publish(options)
        proxies = [] if options["no_wait"] else publishing.wait_applied(after.version, options["timeout_seconds"])
        changes = difference(before, after)
        if options["format"] == "json":
            confirmed = [row.proxy for row in proxies]
            return self._json({"version": after.version, "changes": changes, "confirmed_by": confirmed})
        self.stdout.write(f"version {after.version}, confirmed by {len(proxies)} live proxies")
        for line in changes or ["nothing changed"]:
            self.stdout.write(f"  {line}")

    def _log(self, options: dict[str, Any]) -> None:
        rows = [_entry(row) for row in publishing.log(options["limit"])]
        if options["format"] == "json":
            return self._json(rows)
        for row in rows:
            self.stdout.write(f"{row['version']:>6}  {row['created']}  {row['author']:<12}  {row['reason']}")

    def _diff(self, options: dict[str, Any]) -> None:
        tables = [publishing.at_version(options[name]) for name in ("before", "after")]
        changes = difference(*tables)
        if options["format"] == "json":
            return self._json(changes)
        for line in changes or ["no difference"]:
            self.stdout.write(line)

    def _json(self, value: object) -> None:
        self.stdout.write(json.dumps(value, indent=2))


def _publish(options: dict[str, Any]) -> RoutingTable:
    who = {"author": options["author"] or getpass.getuser(), "reason": options["reason"]}
    match options["action"]:
        case "hold":
            return publishing.set_writes(options["context"], "hold", **who)
        case "release":
            return publishing.release(options["context"], **who)
        case "rollback":
            return publishing.rollback(options["version"], **who)
    change = _parse(options["context"], options["assignments"])
    who["reason"] = who["reason"] or f"{options['context']}: {' '.join(options['assignments'])}"
    return publishing.publish(change, attempts=publishing.ATTEMPTS, **who)


def _parse(context: str, assignments: list[str]) -> publishing.Change:
    """`reads=25%` and `writes=new` as one change of a table."""
    changes = [_parse_one(context, text) for text in assignments]

    def apply(table: RoutingTable) -> RoutingTable:
        for change in changes:
            table = change(table)
        return table

    return apply


def _parse_one(context: str, text: str) -> publishing.Change:
    key, _, value = text.partition("=")
    if text in ("writes=old", "writes=new"):
        side: Writes = "new" if value == "new" else "old"
        return lambda table: with_writes(table, context, side)
    try:
        percent = float(value.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if key != "reads" or not 0 <= percent <= 100:
        raise CommandError(
            f"{text!r} is not an assignment; write reads=25%, writes=old or writes=new "
            f"(or use the actions hold and release)",
            returncode=ExitCode.USAGE,
        )
    return lambda table: with_reads(table, context, percent)


def _entry(row: RoutingVersion) -> dict[str, Any]:
    return {
        "version": row.pk,
        "parent": row.parent_id,
        "author": row.author,
        "reason": row.reason,
        "created": row.created.isoformat(timespec="seconds"),
        "sha256": row.sha256,
    }
