"""What one request, task or command caused, in the monolith and in every service, in the order of time."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.errors import ExitCode
from migration_tools.management.examples import Examples
from migration_tools.overview.chain import Link
from migration_tools.overview.story import follow


class Command(Examples):
    """Reads only; a side that does not answer is said, and the others are shown."""

    help = "Show what one correlation id caused on every side: rows, events, parked events, sagas; without values."
    examples = ("0198c1f2-6f0e-7aaa-8f5e-3c2d1b0a9f8e", "0198c1f2-6f0e-7aaa-8f5e-3c2d1b0a9f8e --format json")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("correlation", help="of an answer's X-Correlation-ID, a log line or strangle_dead_letters")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        story = follow(options["correlation"])
        code = ExitCode.ERROR if story.unreachable else ExitCode.DONE
        told = f"{len(story.links)} records in {', '.join(story.places) or 'no place'}"
        if options["format"] == "json":
            self.stdout.write(json.dumps({**story.to_json(), "message": told, "exit_code": int(code)}))
        else:
            for each in story.links:
                self.stdout.write(_line(each))
            self.stdout.write(told)
        if story.unreachable:
            raise CommandError("; ".join(story.unreachable.values()), returncode=code)


def _line(each: Link) -> str:
    where = f"{each.place}/{each.stream}" + (f" {each.position}" if each.position else "")
    note = f"  {each.note}" if each.note else ""
    return f"{each.at:%Y-%m-%d %H:%M:%S.%f}  {where}  {each.kind} {each.name} {each.key}{note}"
