"""Phase 2: capture every write of a context and keep the service in sync."""

import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.management.operation import Operation
from migration_tools.state.phase import Phase


class Command(Operation):
    """monolith_only → dual_write."""

    help = "Capture every write of the context by triggers and keep the service in sync from now on."
    examples = ("orders --dry-run", "orders")
    purpose = "dual write"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--adopt", action="store_true", help="allow rows in the target; the backfill replaces them")
        parser.add_argument(
            "--beside",
            action="append",
            metavar="CONTEXT",
            help="go though this context is on its way too and tied to this one; once for each",
        )

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        with self.surroundings(options, stop) as env:
            return self.move(env, Phase.DUAL_WRITE, options)
