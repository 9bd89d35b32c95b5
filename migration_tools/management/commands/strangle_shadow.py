"""Shadow reads: run the comparator, report what differs, propose and decide what does not count."""

import importlib
import json
import logging
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, NotWritten
from migration_tools.management.examples import Examples
from migration_tools.management.rehearsal import rolled_back
from migration_tools.management.reports import render
from migration_tools.management.shadow_hints import transformed_fields
from migration_tools.reports.files import write_whole
from migration_tools.reports.kinds import Format, Kind
from migration_tools.routing.shadow import rules
from migration_tools.routing.shadow.models import ShadowRule
from migration_tools.routing.shadow.report import ShadowReport, read_report

FILES = {"json": "json", "markdown": "md", "html": "html", "junit": "xml"}


class Command(Examples):
    help = (
        "Compare what both sides answer to a sample of the reads. The sample is set with strangle_route set CONTEXT "
        "shadow=5%. Exit codes of report: 0 nothing differs, 3 differences found, 4 nothing was compared."
    )
    examples = ("report orders", "run")

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        run = actions.add_parser("run", help="compare mirrored reads until SIGTERM or SIGINT")
        run.add_argument("--listen", metavar="HOST:PORT", help="where the proxy mirrors to (default PROXY['SHADOW'])")
        run.add_argument("--workers", type=int, default=4, help="reads compared at once (default 4)")
        run.add_argument("--waiting", type=int, default=200, help="reads that may wait; more are dropped (default 200)")
        run.add_argument("--timeout-seconds", type=float, default=5.0, help="of one answer (default 5)")
        run.add_argument("--reveal", action="store_true", help="store values of examples, which are personal data")

        report = actions.add_parser("report", help="what was compared and what differs")
        report.add_argument("context")
        report.add_argument("--format", choices=[str(each) for each in Format], default="text")
        report.add_argument("--directory", type=Path, help="also write it there as JSON, Markdown, HTML and JUnit")

        for name, text in (
            ("propose", "propose rules for what looks like noise or a declared transform"),
            ("rules", "list the rules"),
        ):
            sub = actions.add_parser(name, help=text)
            sub.add_argument("context")
            sub.add_argument("--format", choices=("text", "json"), default="text")
            if name == "propose":
                sub.add_argument("--dry-run", action="store_true", help="show what would be proposed; keep nothing")
        add = actions.add_parser("add", help="propose a rule by hand; it is in force when it is approved")
        add.add_argument("context")
        add.add_argument("path", help="as the report writes it, such as '$.results[*].total'")
        add.add_argument(
            "--class", dest="kind", required=True, help="missing, extra, changed, type_or_precision, order"
        )
        add.add_argument("--pattern", default="", help="of one route only, as the report writes it (default: all)")
        add.add_argument("--dry-run", action="store_true", help="show the rule; keep nothing")
        add.add_argument("--unordered", action="store_true", help="compare the list as a bag instead of ignoring it")
        for name, text in (("approve", "put a rule in force"), ("reject", "say that a difference counts")):
            sub = actions.add_parser(name, help=text)
            sub.add_argument("context")
            sub.add_argument("rule", type=int, nargs="+", help="its number, as rules shows it")
            sub.add_argument("--reason", required=True, help="why, for the journal")
            sub.add_argument("--dry-run", action="store_true", help="show what would be decided; keep nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        actions: dict[str, Callable[[dict[str, Any]], None]] = {
            "run": self._run,
            "report": self._report,
            "propose": self._propose,
            "rules": self._list,
            "add": self._add,
            "approve": self._decide,
            "reject": self._decide,
        }
        with rolled_back(settings().DATABASE) if options.get("dry_run") else nullcontext():
            actions[options["action"]](options)

    def _run(self, options: dict[str, Any]) -> None:
        wrong = [name for name in ("workers", "waiting", "timeout_seconds") if options[name] <= 0]
        if wrong:
            named = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
            raise CommandError(f"{named} must be above 0", returncode=ExitCode.USAGE)
        if options["verbosity"] > 0:
            logging.getLogger("proxy").setLevel(logging.INFO)
            if not logging.getLogger().handlers:
                logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        try:
            # The proxy is an application beside the toolkit and not in its wheel, so it is named at run time.
            control = importlib.import_module("proxy.shadow_control")
        except ModuleNotFoundError as error:
            raise CommandError(
                f"the proxy application cannot be imported: {error}; run the command in the checkout that holds proxy/"
            ) from error
        names = ("listen", "workers", "waiting", "timeout_seconds", "reveal")
        control.run(**{name: options[name] for name in names})

    def _report(self, options: dict[str, Any]) -> None:
        report = read_report(options["context"])
        if options["directory"] is not None:
            self._write(report, options["directory"])
        self.stdout.write(render(Kind.SHADOW, report, options["format"]), ending="")
        if not report.compared:
            raise CommandError(
                f"no shadow read of {report.context!r} was compared; is a sample shadowed "
                f"(strangle_route set {report.context} shadow=5%) and strangle_shadow run running?",
                returncode=ExitCode.GATE_NOT_MET,
            )
        if not report.clean:
            raise SystemExit(int(ExitCode.DIFFERENCES))

    def _write(self, report: ShadowReport, directory: Path) -> None:
        try:
            for name, suffix in FILES.items():
                path = directory / f"shadow-{report.context}.{suffix}"
                write_whole(path, render(Kind.SHADOW, report, name), private=True)
                self.stderr.write(f"wrote {path}")
        except OSError as error:
            remedy = "name another place with --directory, or none to print it"
            raise NotWritten("the report", directory, error, remedy) from error

    def _propose(self, options: dict[str, Any]) -> None:
        context = options["context"]
        made = rules.propose(context, transformed_fields(context))
        self._tell(made, options["format"], empty="nothing to propose", dry_run=options["dry_run"])

    def _list(self, options: dict[str, Any]) -> None:
        self._tell(rules.listed(options["context"]), options["format"], empty="no rules")

    def _add(self, options: dict[str, Any]) -> None:
        action: rules.Action = "unordered" if options["unordered"] else "ignore"
        named = {name: options[name] for name in ("path", "kind", "pattern")}
        self._tell([rules.add(options["context"], action=action, **named)], "text", dry_run=options["dry_run"])

    def _decide(self, options: dict[str, Any]) -> None:
        decision: rules.Decision = "approved" if options["action"] == "approve" else "rejected"
        for number in options["rule"]:
            row = rules.decide(options["context"], number, decision, reason=options["reason"])
            self._tell([row], "text", dry_run=options["dry_run"])

    def _tell(self, found: list[ShadowRule], form: str, *, empty: str = "", dry_run: bool = False) -> None:
        if form == "json":
            names = ("pattern", "path", "kind", "action", "state", "why", "reason", "actor")
            documents = [{"rule": row.pk, **{name: getattr(row, name) for name in names}} for row in found]
            self.stdout.write(json.dumps(documents, ensure_ascii=False, indent=1))
            return
        if dry_run:
            self.stdout.write("nothing was kept of this:")
        for row in found:
            because = row.reason or row.why
            self.stdout.write(f"{row.pk:>5}  {row.state:<9} {row}: {because}")
        if not found:
            self.stdout.write(empty)
