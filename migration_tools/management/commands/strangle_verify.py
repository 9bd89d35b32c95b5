"""Phase 4: compare both sides exactly while writes go on, report every difference, repair when told to."""

import dataclasses
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.management.base import CommandError, CommandParser

from migration_tools.errors import ExitCode
from migration_tools.management.operation import RENDERED, Operation
from migration_tools.management.reports import REVEAL_NEEDS_REASON, render
from migration_tools.phases.gates import clean_streak
from migration_tools.phases.machine import missing_evidence, operating
from migration_tools.phases.repairing import plan_repair, run_repair
from migration_tools.phases.surroundings import Surroundings
from migration_tools.phases.verifying import run_verification
from migration_tools.phases.watching import watch
from migration_tools.reports.kinds import Kind
from migration_tools.state.journal import phase_of, record
from migration_tools.state.models import Context
from migration_tools.state.phase import Phase
from migration_tools.verification.report import VerificationReport
from migration_tools.verification.writing import write_or_tell


class Command(Operation):
    """A verification in any phase; backfill → verify once enough of them were clean."""

    help = "Compare both sides exactly while writes go on; exit 3 when they differ. Enough clean runs complete phase 4."
    examples = ("orders", "orders --watch", "orders --runs 2 --format json")
    purpose = "verify"
    report = Kind.VERIFY

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--repair", action="store_true", help="then strangle_repair what was found, and compare again"
        )
        parser.add_argument(
            "--restart", action="store_true", help="begin anew, even if a run was cut off and could be resumed"
        )
        parser.add_argument(
            "--runs", type=int, help="how many comparisons (default: what the gate still needs, else 1)"
        )
        parser.add_argument("--range-rows", type=int, help="compare at most so many rows in one pair of snapshots")
        parser.add_argument(
            "--reveal",
            action="store_true",
            help="show values in reports; journalled, and needs --reason. Default: their shape only",
        )
        parser.add_argument(
            "--watch", action="store_true", help="go on: changed keys at once, all others in turn, until Ctrl-C"
        )
        parser.add_argument("--interval", type=float, default=2.0, help="of --watch: seconds between steps (default 2)")
        parser.add_argument("--rounds", type=int, help="of --watch: end after so many rounds through all tables")
        parser.add_argument("--directory", help="where reports go (default var/reports/<context>)")

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        if options["reveal"] and not options["reason"].strip():
            raise CommandError(REVEAL_NEEDS_REASON, returncode=ExitCode.USAGE)
        with self.surroundings(options, stop) as env:
            if options["dry_run"]:
                tables = [
                    f"Compare {r.source_table!r} with {r.target_table!r}."
                    for r in env.compiled.source.relations
                    if r.kind == "r"
                ]
                return {
                    "plan": tables,
                    "evidence": {},
                    "message": "nothing was touched",
                    "phase_after": phase_of(env.context).value,
                }
            return self._watch(env, options) if options["watch"] else self._verify(env, options)

    def _watch(self, env: Surroundings, options: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        show = (lambda _: None) if options["format"] == "json" else _running_line()
        done = watch(env, interval=options["interval"], rounds=options["rounds"], show=show)
        verdict = "equal" if not done.open else f"{done.open} differences; run strangle_repair {env.context}"
        return {
            "phase_after": phase_of(env.context).value,
            "seconds": round(time.monotonic() - began, 3),
            "differences_found": done.open > 0,
            "evidence": dataclasses.asdict(done),
            "message": f"{env.context!r} watched for {done.rounds} rounds to position {done.position}: {verdict}",
        }

    def _verify(self, env: Surroundings, options: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        with operating(env.source, env.context):
            report, kept = run_verification(env, restart=options["restart"])
            repaired = 0
            if options["repair"] and not report.equal:
                repaired = run_repair(env, plan_repair(env)).keys
                report, kept = run_verification(env)
            for _ in range(1, options["runs"] or self._needed(env, report)):
                if not report.equal:
                    break
                env.heed()
                report, kept = run_verification(env)
        entered = self._enter_phase(env, options) if report.equal else ""
        base = Path(getattr(django_settings, "BASE_DIR", "."))
        place = Path(options["directory"] or base / "var" / "reports" / env.context)
        if options["reveal"]:
            record(env.context, "verify", "revealed", {"directory": str(place)}, options["reason"])
        files, told = write_or_tell(
            report,
            place,
            f"it is kept: strangle_report verify {env.context} prints it, --directory names another place",
            reveal=options["reveal"],
        )
        verdict = "equal" if report.equal else f"{report.differences} differences"
        form, reveal = options["format"], options["reveal"]
        rendered = {"rendered": render(Kind.VERIFY, report, form, reveal=reveal)} if form in RENDERED else {}
        return rendered | {
            "phase_after": phase_of(env.context).value,
            "seconds": round(time.monotonic() - began, 3),
            "differences_found": not report.equal,
            "unwritten": not files,
            "evidence": {
                "verification": kept.pk,
                "rows": report.rows,
                "differences": report.differences,
                "by_class": report.by_class,
                "position": report.position,
                "snapshots": report.snapshots,
                "report": str(files["json"]) if files else None,
                "reports": {form: str(path) for form, path in files.items()},
                "repaired": repaired,
                "clean_in_a_row": clean_streak(env),
                "pairs": [{"projection": t.projection, "rows": t.rows, "differences": t.count} for t in report.tables],
            },
            "message": f"{env.context!r}: {report.rows:,} rows compared at position {report.position}: {verdict}"
            + f"{entered}. {told}",
        }

    def _needed(self, env: Surroundings, report: VerificationReport) -> int:
        if not report.equal:
            return 1
        return max(env.playbook.gates.clean_verifications - clean_streak(env) + 1, 1)

    def _enter_phase(self, env: Surroundings, options: dict[str, Any]) -> str:
        """Complete the move if this is its time; what there is to say of it."""
        row = Context.objects.using(env.playbook.source).get(name=env.context)
        if row.phase != Phase.BACKFILL or row.move not in {None, f"to {Phase.VERIFY}"}:
            return ""
        # A move that was cut off is taken up again; its gates were met when it began.
        if row.move is None and (missing := missing_evidence(env, Phase.VERIFY)):
            return f"; phase 'verify' is not entered yet: {'; '.join(missing)}"
        self.move(env, Phase.VERIFY, options)
        return "; phase 'verify' is reached"


def _running_line() -> Callable[[str], None]:
    """One line that is written over on a terminal; elsewhere a line each."""
    if not sys.stderr.isatty():
        return lambda text: print(text, file=sys.stderr, flush=True)
    return lambda text: print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
