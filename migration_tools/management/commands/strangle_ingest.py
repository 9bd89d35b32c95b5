"""Apply what Debezium or Maxwell have captured, from lines of JSON."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, Interrupted
from migration_tools.management.examples import Examples
from migration_tools.management.signals import heed_signals
from migration_tools.messaging.foreign.batches import LineBatches
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
        stop = threading.Event()
        with heed_signals(stop), _opened(options["file"]) as descriptor:
            lines = LineBatches(descriptor, settings().BATCH_ROWS, stop)
            try:
                feed = ForeignFeed(options["feed"])
                for batch in lines:
                    done = feed.ingest([values_of(line) for line in batch])
                    for name in totals:
                        totals[name] += getattr(done, name)
            finally:
                self.stdout.write(", ".join(f"{count} {name}" for name, count in totals.items()))
        if not lines.ended:
            raise Interrupted(
                "stopped before the end of the input; what was read is applied. Go on with the lines after it, or give "
                "all of them again: what is known changes nothing"
            )


@contextmanager
def _opened(path: Path | None) -> Iterator[int]:
    if path is None:
        yield sys.stdin.fileno()
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", returncode=ExitCode.USAGE) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
