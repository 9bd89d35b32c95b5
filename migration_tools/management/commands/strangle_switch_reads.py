"""Phase 5: let the service answer reads, by share."""

import threading
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.errors import ExitCode, GateNotMet
from migration_tools.management.operation import Operation
from migration_tools.phases.dry_run import DryRunExecutor
from migration_tools.phases.gates import readers_stay
from migration_tools.phases.live import LiveExecutor
from migration_tools.phases.machine import operating
from migration_tools.phases.ramp import Ramp, climb
from migration_tools.routing.verdict import GATES, Limits
from migration_tools.state.journal import phase_of, record
from migration_tools.state.phase import Phase


class Command(Operation):
    """verify → switch_reads, and afterwards any other share."""

    help = "Let the service answer a share of the context's reads, sticky per user."
    examples = ("orders --percent 5", "orders --steps 1,5,25,50,100")
    purpose = "switch reads"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--percent", type=float, help="share of readers, 0 to 100 (default 100)")
        parser.add_argument("--steps", help="shares to go through, each judged before the next: 1,5,25,50,100")
        parser.add_argument(
            "--gate",
            default="errors,latency",
            help="what a step is judged by: errors,latency,diff (default the first two)",
        )
        parser.add_argument("--min-requests", type=int, default=500, help="answers a step needs (default 500)")
        parser.add_argument("--step-seconds", type=float, default=5.0, help="least time of a step (default 5)")
        parser.add_argument(
            "--on-no-data",
            choices=["pause", "rollback"],
            default="pause",
            help="when answers do not come (default pause)",
        )
        parser.add_argument(
            "--no-data-seconds", type=float, default=60.0, help="how long a step may go without (default 60)"
        )
        parser.add_argument(
            "--allow-unsticky",
            action="store_true",
            help="take a share on a data plane that draws a side for every request anew",
        )

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        ramp = read_ramp(options)
        if ramp is not None:
            options["shares"] = list(ramp.steps)
            options["percent"] = 0.0  # it enters the phase without a reader; its first step is judged like every other
        elif options["percent"] is None:
            options["percent"] = 100.0
        with self.surroundings(options, stop) as env:
            if phase_of(env.context) is not Phase.SWITCH_READS:
                result = self.move(env, Phase.SWITCH_READS, options)
                if ramp is None or options["dry_run"]:
                    return self._told(result, ramp)
            elif options["dry_run"]:
                plan = DryRunExecutor(env)
                if ramp is None:
                    plan.shift_reads(options["percent"])
                return self._told(self.rehearsed(plan, list(readers_stay(env))), ramp)
            began = time.monotonic()
            with operating(env.source, env.context):
                executor = LiveExecutor(env)
                blocking = readers_stay(env)
                if blocking:
                    raise GateNotMet(env.context, Phase.SWITCH_READS.value, blocking)
                if ramp is not None:
                    evidence = climb(env, executor, ramp)
                else:
                    evidence = executor.shift_reads(options["percent"])
                    record(env.context, "shift reads", "completed", evidence, options["reason"])
            return {
                "phase_after": Phase.SWITCH_READS.value,
                "seconds": round(time.monotonic() - began, 3),
                "evidence": evidence,
                "message": f"the service answers {evidence['percent']:g} % of the reads of {env.context!r}",
            }

    def _told(self, result: dict[str, Any], ramp: Ramp | None) -> dict[str, Any]:
        """Add the steps to what a dry run tells."""
        if ramp is not None and "plan" in result:
            shares = ", ".join(f"{step:g}" for step in ramp.steps)
            result["plan"].append(
                f"Go through {shares} %, each step for {ramp.step_seconds:g} s and {ramp.limits.min_requests} answers "
                f"at least, judged by {', '.join(ramp.limits.gates)}; when the service is worse, send every read to "
                f"the monolith again and end with exit code {int(ExitCode.ROLLED_BACK)}."
            )
        return result


def read_ramp(options: dict[str, Any]) -> Ramp | None:
    """The ramp that the options ask for; all their mistakes at once."""
    mistakes = []
    percent = options["percent"]
    if percent is not None and not 0 <= percent <= 100:
        mistakes.append(f"--percent is {percent:g}; it must be 0 to 100")
    if percent is not None and options["steps"]:
        mistakes.append("--percent and --steps exclude each other")
    try:
        steps = [float(step.strip().removesuffix("%")) for step in (options["steps"] or "").split(",") if step.strip()]
    except ValueError:
        steps = [-1.0]
    if any(not 0 < step <= 100 for step in steps) or steps != sorted(set(steps)):
        mistakes.append(
            f"--steps is {options['steps']!r}; write growing shares above 0 and up to 100, as 1,5,25,50,100"
        )
    gates = tuple(gate.strip() for gate in options["gate"].split(",") if gate.strip())
    unknown = sorted(set(gates) - set(GATES))
    if unknown or not gates:
        mistakes.append(f"--gate is {options['gate']!r}; choose from {', '.join(GATES)}")
    if options["min_requests"] < 1:
        mistakes.append("--min-requests must be 1 or more, since no data is not green")
    if mistakes:
        raise CommandError("; ".join(mistakes), returncode=ExitCode.USAGE)
    if not steps:
        return None
    return Ramp(
        steps=steps,
        limits=Limits(gates=gates, min_requests=options["min_requests"]),
        step_seconds=options["step_seconds"],
        on_no_data=options["on_no_data"],
        no_data_seconds=options["no_data_seconds"],
    )
