"""One step back: undo the present phase, or a move that was cut off."""

import threading
import time
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.management.operation import RENDERED, Operation
from migration_tools.management.reports import render
from migration_tools.management.saga_options import add_saga_options
from migration_tools.overview.hand_overs import read_hand_overs
from migration_tools.phases.dry_run import DryRunExecutor
from migration_tools.phases.live import LiveExecutor
from migration_tools.phases.machine import MOVES, move_back
from migration_tools.reports.kinds import Kind
from migration_tools.state.journal import phase_of
from migration_tools.state.phase import BACKWARD, Phase


class Command(Operation):
    """Any phase → the one before it."""

    help = "Undo the present phase of the context; after a cutover nothing that was written since is lost."
    examples = ("orders --dry-run", 'orders --reason "errors since noon"')
    purpose = "rollback"
    report = Kind.CUTOVER

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_saga_options(parser)

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        with self.surroundings(options, stop) as env:
            phase = phase_of(env.context)
            if options["dry_run"]:
                plan = DryRunExecutor(env)
                if phase in BACKWARD:
                    MOVES[phase].rollback(plan, options)
                after = BACKWARD.get(phase, Phase.MONOLITH_ONLY)
                return {
                    "plan": plan.plan,
                    "evidence": {},
                    "phase_after": phase.value,
                    "message": f"nothing was touched; the context would be in {after.value!r}",
                }
            began = time.monotonic()
            evidence = move_back(env, LiveExecutor(env), reason=options["reason"])
            after = phase_of(env.context)
            rendered = {}
            if options["format"] in RENDERED:
                rendered["rendered"] = render(Kind.CUTOVER, read_hand_overs(env.context), options["format"])
            return rendered | {
                "phase_after": after.value,
                "seconds": round(time.monotonic() - began, 3),
                "evidence": evidence,
                "message": f"{env.context!r} is back in phase {after.value!r}",
            }
