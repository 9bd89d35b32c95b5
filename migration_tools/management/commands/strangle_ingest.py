"""Apply what Debezium or Maxwell have captured, from lines of JSON."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.management.examples import Examples
from migration_tools.messaging.foreign.lines import values_of
from migration_tools.transfer.foreign import ForeignFeed


class Command(Examples):
    """Each batch is a transaction; what is sent again is known and changes nothing."""

    help = "Apply change events of Debezium or Maxwell, one a line."
    examples = ("crm",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("feed", help="the entry of MIGRATION_TOOLS['FOREIGN']")
        parser.add_argument("--file", type=Path, default=None, help="read this file, not the standard input")

    def handle(self, *args: Any, **options: Any) -> None:
        totals = {"applied": 0, "known": 0, "ignored": 0}
        try:
            feed = ForeignFeed(options["feed"])
            for batch in _batches(options["file"]):
                done = feed.ingest(batch)
                for name in totals:
                    totals[name] += getattr(done, name)
        except StrangleError as error:
            raise CommandError(str(error), returncode=error.exit_code) from error
        finally:
            self.stdout.write(", ".join(f"{count} {name}" for name, count in totals.items()))


def _batches(path: Path | None) -> Iterator[list[str | None]]:
    if path is None:
        yield from _cut(sys.stdin)
    else:
        with path.open() as lines:
            yield from _cut(lines)


def _cut(lines: TextIO) -> Iterator[list[str | None]]:
    batch: list[str | None] = []
    for line in lines:
        if line.strip():
            batch.append(values_of(line))
        if len(batch) >= settings().BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
