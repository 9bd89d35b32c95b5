"""Phase 6: make the service the owner of a context's writes."""

import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.management.operation import RENDERED, Operation
from migration_tools.management.reports import render
from migration_tools.management.saga_options import add_saga_options
from migration_tools.overview.hand_overs import read_hand_overs
from migration_tools.reports.kinds import Kind
from migration_tools.state.phase import Phase


class Command(Operation):
    """switch_reads → cutover; run it again to complete one that was cut off."""

    help = "Hand the context's writes over to the service; they are carried back, so strangle_rollback loses nothing."
    examples = ("orders --dry-run", 'orders --reason "CHG-1234"')
    purpose = "cutover"
    report = Kind.CUTOVER

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--allow-refused-writes",
            action="store_true",
            help="go on though the data plane cannot hold writes: the fence answers them with 503 and Retry-After",
        )
        parser.add_argument(
            "--drain-seconds",
            type=float,
            default=0.0,
            help="while writes are held, end the monolith's open sockets and event streams and wait so long at most",
        )
        add_saga_options(parser)

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        with self.surroundings(options, stop) as env:
            done = self.move(env, Phase.CUTOVER, options)
        if options["format"] in RENDERED:
            done["rendered"] = render(Kind.CUTOVER, read_hand_overs(env.context), options["format"])
        return done
