"""Phase 7: prove that nobody uses the old tables and put them away, or keep them as copies; --remove drops them."""

import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.analysis.roles import role_of
from migration_tools.errors import ExitCode, Interrupted
from migration_tools.management.operation import Operation
from migration_tools.phases.keeping import refuse_kept
from migration_tools.phases.removal import drop_old_tables, finish, missing_for_removal, plan_removal
from migration_tools.phases.surroundings import DROPPED, REMOVE
from migration_tools.playbook.registry import get
from migration_tools.state.journal import last_evidence, read_context
from migration_tools.state.phase import Phase


class Command(Operation):
    """cutover → decommission; after it, with --remove, the end."""

    help = (
        "Watch the old tables, dump them with checksums and move them to quarantine; refuses while somebody uses them. "
        "With --keep-copies, leave them as copies that follow, read by anybody and written by nobody else. With "
        "--remove, drop them for good."
    )
    examples = (
        "orders --dry-run",
        "orders",
        "orders --quiet-days 7",
        "users --keep-copies",
        "orders --remove --quiet-days 30",
    )
    purpose = "decommission"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--directory", help="where the final dump goes, or is (default var/archive/<context>)")

        parser.add_argument(
            "--quiet-days",
            type=float,
            default=0.0,
            help="how long nobody may have used the old tables, where the playbook's gate asks for less; run it again",
        )
        parser.add_argument(
            "--keep-copies",
            action="store_true",
            help="leave the old tables as copies that follow the service: the monolith reads them, nobody else writes",
        )
        parser.add_argument(
            "--remove",
            action="store_true",
            help="once they are put away: drop the old tables, triggers, grants, routes and ledger; CANNOT BE UNDONE",
        )
        parser.add_argument(
            "--scratch", help="with --remove: the Django database to restore the dump into (default: one made for it)"
        )
        parser.add_argument(
            "--drop-routes",
            action="store_true",
            help="with --remove: take the context's paths out of the proxy, when the edge sends them to the service",
        )
        parser.add_argument(
            "--role-prefix", default="", help="with --remove: the prefix that strangle_guard roles was given"
        )

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        if options["keep_copies"] and (options["remove"] or options["directory"]):
            raise CommandError(
                "--keep-copies leaves the old tables where they are: there is no dump (--directory), and nothing to "
                "--remove",
                returncode=ExitCode.USAGE,
            )
        if options["remove"]:
            return self._remove(options, stop)
        if options["scratch"] or options["drop_routes"] or options["role_prefix"]:
            raise CommandError(
                "--scratch, --drop-routes and --role-prefix are of the removal: add --remove", returncode=ExitCode.USAGE
            )
        with self.surroundings(options, stop) as env:
            return self.move(env, Phase.DECOMMISSION, options)

    def _remove(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        playbook = get(options["context"])
        context = playbook.context
        dropped = last_evidence(context, DROPPED) is not None
        if dropped and read_context(context).move != REMOVE:
            return {"evidence": {}, "phase_after": "decommission", "message": f"{context!r} was removed already"}
        refuse_kept(context)
        if options["dry_run"]:
            return self._plan(options, stop)
        if not dropped:
            with self.surroundings(options, stop) as env:
                drop_old_tables(env)

        def wait(seconds: float) -> None:
            if stop.wait(seconds):
                raise Interrupted(f"stopped; run strangle_decommission {context} --remove again to complete it")

        evidence = finish(
            playbook,
            drop_routes=options["drop_routes"],
            role=role_of(context, options["role_prefix"]),
            wait=wait,
            reason=options["reason"],
        )
        return {
            "evidence": evidence,
            "phase_after": "decommission",
            "message": f"the old tables of {context!r} and what the move needed are gone; the final dump is in "
            f"{evidence['directory']}. Take the playbook out of MIGRATION_TOOLS['PLAYBOOKS']",
        }

    def _plan(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        with self.surroundings(options, stop) as env:
            blocking = missing_for_removal(env)
            return {
                "plan": plan_removal(env),
                "blocking": blocking,
                "evidence": {},
                "phase_after": "decommission",
                "message": "nothing was touched; "
                + ("its gates are met" if not blocking else "these gates are not met yet:"),
            }
