"""Empty what nobody needs any more of this side's outbox and streams; with --dry-run, say what would go and why not."""

import json
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.conf import settings
from migration_tools.errors import ExitCode
from migration_tools.management.examples import Examples
from migration_tools.messaging.retention import Leaf, drop_old, survey
from migration_tools.stores.postgres import connect


class Command(Examples):
    """What the relay does every half minute, by hand."""

    help = "Empty the parts of this side's outbox and streams that nobody needs."
    examples = ("", "--dry-run")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="tell what would go and what stays; touch nothing")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        with connect(settings().DATABASE, "prune") as conn:
            before = survey(conn)
            if not options["dry_run"]:
                rows = conn.execute("SELECT DISTINCT stream FROM strangle_tick ORDER BY 1").fetchall()
                for row in rows:
                    drop_old(conn, row[0])
            after = before if options["dry_run"] else survey(conn)
        left = {leaf.table for leaf in after if leaf.stays or not options["dry_run"]}
        lines = [_line(leaf, gone=leaf.table not in left, dry_run=options["dry_run"]) for leaf in before]
        if options["format"] == "json":
            document = {
                "leaves": [
                    {"table": each.table, "rows": each.rows, "bytes": each.bytes, "stays": each.stays}
                    for each in before
                ],
                "emptied": [each.table for each in before if each.table not in left and not options["dry_run"]],
                "exit_code": int(ExitCode.DONE),
            }
            self.stdout.write(json.dumps(document))
            return
        for line in lines or ["outbox and streams are empty"]:
            self.stdout.write(line)


def _line(leaf: Leaf, *, gone: bool, dry_run: bool) -> str:
    size = f"{leaf.table}: about {leaf.rows:,} rows, {leaf.bytes / 1e6:,.1f} MB"
    if not gone:
        return f"{size}; stays: {leaf.stays or 'somebody uses it, it is tried again'}"
    return f"{size}; {'would be emptied' if dry_run else 'emptied'}"
