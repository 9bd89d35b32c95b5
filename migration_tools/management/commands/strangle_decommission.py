"""Phase 7: prove that nobody uses the old tables, dump them, put them away."""

import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.management.operation import Operation
from migration_tools.state.phase import Phase


class Command(Operation):
    """cutover → decommission."""

    help = (
        "Watch the old tables, dump them with checksums and move them to quarantine; refuses while somebody uses them."
    )
    examples = ("orders --dry-run", "orders", "orders --quiet-days 7")
    purpose = "decommission"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--directory", help="where the final dump goes (default var/archive/<context>)")

        parser.add_argument(
            "--quiet-days",
            type=float,
            default=0.0,
            help="how long nobody may have used the old tables, where the playbook's gate asks for less; run it again",
        )

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        with self.surroundings(options, stop) as env:
            return self.move(env, Phase.DECOMMISSION, options)
