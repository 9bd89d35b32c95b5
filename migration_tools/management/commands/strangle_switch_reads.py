"""Phase 5: let the service answer reads, by share."""

import threading
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.errors import ExitCode
from migration_tools.management.operation import Operation
from migration_tools.phases.live import LiveExecutor
from migration_tools.phases.machine import operating
from migration_tools.state.journal import phase_of, record
from migration_tools.state.phase import Phase


class Command(Operation):
    """verify → switch_reads, and afterwards any other share."""

    help = "Let the service answer a share of the context's reads, sticky per user."
    purpose = "switch reads"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--percent", type=float, default=100.0, help="share of readers, 0 to 100 (default 100)")

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        if not 0 <= options["percent"] <= 100:
            raise CommandError(f"--percent is {options['percent']:g}; it must be 0 to 100", returncode=ExitCode.USAGE)
        with self.surroundings(options, stop) as env:
            if phase_of(env.context) is not Phase.SWITCH_READS or options["dry_run"]:
                return self.move(env, Phase.SWITCH_READS, options)
            began = time.monotonic()
            with operating(env.source, env.context):
                evidence = LiveExecutor(env).shift_reads(options["percent"])
                record(env.context, "shift reads", "completed", evidence, options["reason"])
            return {
                "phase_after": Phase.SWITCH_READS.value,
                "seconds": round(time.monotonic() - began, 3),
                "evidence": evidence,
                "message": f"the service answers {options['percent']:g} % of the reads of {env.context!r}",
            }
