"""What every strangle command shares: options, output for people and machines, signals, exit codes."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.errors import ExitCode
from migration_tools.management.examples import Examples
from migration_tools.management.failures import FAILURES, command_error
from migration_tools.management.signals import heed_signals, watch
from migration_tools.phases.dry_run import DryRunExecutor
from migration_tools.phases.live import LiveExecutor
from migration_tools.phases.machine import MOVES, check_gates, missing_evidence, move_forward, refuse_unless
from migration_tools.phases.surroundings import Surroundings, surroundings
from migration_tools.playbook.registry import get
from migration_tools.reports.kinds import Format, Kind
from migration_tools.state.journal import phase_of
from migration_tools.state.phase import Phase

#: Formats of reports; the object that json prints is the command's own answer, whatever it did.
RENDERED = (str(Format.MARKDOWN), str(Format.HTML), str(Format.JUNIT))


class Operation(Examples):
    """A command on one context; subclasses implement `operate` and return evidence.

    Of what they return, `differences_found` ends the command with 3 and `unwritten`, a report whose files could not be
    written, with 1: both after the answer is printed whole.
    """

    purpose = ""
    can_dry_run = True
    #: The kind of report that it gives, in further formats; `operate` then returns `rendered` in these.
    report: Kind | None = None
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of every operation."""
        parser.add_argument("context", help="the bounded context, as its playbook names it")
        if self.can_dry_run:
            parser.add_argument("--dry-run", action="store_true", help="tell the plan in sentences; touch nothing")
            parser.add_argument("--reason", default="", help="why, for the journal")
        told = "json prints one object on stdout"
        if self.report is not None:
            told += f"; {', '.join(RENDERED)} print the report in its place"
        parser.add_argument(
            "--format", choices=["text", "json", *(RENDERED if self.report else ())], default="text", help=told
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run `operate`, print its evidence, turn errors into messages and exit codes."""
        name = type(self).__module__.rsplit(".", 1)[-1]
        stop = threading.Event()
        result: dict[str, Any] = {"context": options["context"], "command": name, "phase_before": None}
        failure: CommandError | None = None
        if options["format"] in RENDERED and any(options.get(name) for name in ("dry_run", "watch")):
            raise CommandError(
                f"--format {options['format']} prints the report of what was done; with --dry-run or --watch there is "
                "none: use text or json",
                returncode=ExitCode.USAGE,
            )
        try:
            result["phase_before"] = phase_of(options["context"]).value
            with heed_signals(stop):
                result |= self.operate(options, stop)
        except FAILURES as error:
            failure = command_error(error, self.left_by_a_failure)
        differs, unwritten = result.pop("differences_found", False), result.pop("unwritten", False)
        if failure is None and (differs or unwritten):
            failure = CommandError(result["message"], returncode=ExitCode.DIFFERENCES if differs else ExitCode.ERROR)
        if failure is not None:
            result |= {"error": str(failure), "exit_code": int(failure.returncode)}
        else:
            result["exit_code"] = 0
        self._print(result, options["format"], failed=failure is not None)
        if failure is not None:
            raise failure

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        """Do it; return at least `message` and `evidence`."""
        raise NotImplementedError

    @contextmanager
    def surroundings(self, options: dict[str, Any], stop: threading.Event) -> Iterator[Surroundings]:
        """The context's surroundings with this command's output."""
        quiet = options["format"] == "json"
        with surroundings(
            get(options["context"]),
            purpose=self.purpose,
            stop=stop,
            options=options,
            say=(lambda _: None) if quiet else self._say,
            progress=watch(stop, quiet=quiet).progress,
        ) as env:
            yield env

    def move(self, env: Surroundings, to: Phase, options: dict[str, Any]) -> dict[str, Any]:
        """Move forward to a phase, or with --dry-run tell the plan and what its gates say."""
        import time

        began = time.monotonic()
        if options["dry_run"]:
            refuse_unless(env, to)
            plan = DryRunExecutor(env)
            MOVES[to].start(plan, options)
            return self.rehearsed(plan, missing_evidence(env, to))
        evidence = move_forward(env, to, LiveExecutor(env), reason=options["reason"])
        seconds = round(time.monotonic() - began, 3)
        return {
            "phase_after": to.value,
            "seconds": seconds,
            "evidence": evidence,
            "message": f"{env.context!r} is in phase {to.value!r} ({seconds:.1f} s)",
        }

    def rehearsed(self, plan: DryRunExecutor, blocking: list[str]) -> dict[str, Any]:
        """What --dry-run answers: the plan in sentences, and what is in its way."""
        return {
            "plan": plan.plan,
            "blocking": blocking,
            "evidence": {},
            "phase_after": phase_of(plan.env.context).value,
            "message": "nothing was "
            "touched; " + ("its gates are met" if not blocking else "these gates are not met yet:"),
        }

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _print(self, result: dict[str, Any], form: str, *, failed: bool) -> None:
        if form == "json":
            self.stdout.write(json.dumps(result, default=str))
            return
        if "rendered" in result:
            self.stdout.write(result["rendered"], ending="")
            return
        for number, sentence in enumerate(result.get("plan", []), 1):
            self.stdout.write(f"{number}. {sentence}")
        for line in result.get("lines", []):
            self.stdout.write(line)
        if not failed:
            self.stdout.write(result.get("message", "done"))
        for sentence in result.get("blocking", []):
            self.stdout.write(f"  - {sentence}")


__all__ = ["Operation", "check_gates"]
