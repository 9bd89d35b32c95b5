"""Phase 3: copy the history of a context beside live writes."""

import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.management.operation import Operation
from migration_tools.state.phase import Phase


class Command(Operation):
    """dual_write → backfill; run it again to resume."""

    help = "Copy the context's history into the service beside live writes; resumes where it stopped."
    purpose = "backfill"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--restart", action="store_true", help="forget checkpoints and copy everything anew")
        parser.add_argument("--replace", action="store_true", help="delete target rows that the source does not have")

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        with self.surroundings(options, stop) as env:
            return self.move(env, Phase.BACKFILL, options)
