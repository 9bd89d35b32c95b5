"""Replace rows that a stored verification found different by the owner's, each compared again first; journalled."""

import threading
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.management.operation import Operation
from migration_tools.phases.machine import operating
from migration_tools.phases.repairing import plan_repair, run_repair
from migration_tools.state.journal import phase_of


class Command(Operation):
    """Repairs confirmed differences only."""

    help = "Replace rows that the last verification found different by the owner's; refuses a report that is stale."
    examples = ("orders --dry-run", "orders")
    purpose = "repair"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--run", type=int, help="which verification; it must be the latest (default: the latest)")
        parser.add_argument(
            "--keys", nargs="+", default=(), metavar="TABLE:KEY", help="only these rows of it (default: all)"
        )

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        with self.surroundings(options, stop) as env, operating(env.source, env.context):
            plan = plan_repair(env, run=options["run"], keys=options["keys"])
            found = {
                "verification": plan.run,
                "confirmed": len(plan.differences),
                "by_class": plan.report.by_class,
            }
            answer: dict[str, Any] = {"phase_after": phase_of(env.context).value}
            if options["dry_run"]:
                return answer | {"plan": plan.sentences(), "evidence": found, "message": "nothing was touched"}
            for sentence in plan.sentences():
                env.say(sentence)
            if not plan.differences:
                message = f"verification {plan.run} of {env.context!r} found no row that differs; nothing to repair"
                return answer | {"evidence": found, "message": message}
            done = run_repair(env, plan)
            return answer | {
                "evidence": found
                | {
                    "repaired": done.keys,
                    "written": done.written,
                    "deleted": done.deleted,
                    "equal_by_then": done.equal,
                    "position": done.position,
                },
                "message": f"{env.context!r}: {done.keys} rows repaired, {done.equal} were equal by then; "
                f"run strangle_verify {env.context} to prove it",
            }
