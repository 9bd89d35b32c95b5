"""The report of what was verified, shadowed or handed over last, or the audit of everything, in any format."""

from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import ExitCode, StrangleError
from migration_tools.management.examples import Examples
from migration_tools.management.output import write_output
from migration_tools.management.reports import REVEAL_NEEDS_REASON, render
from migration_tools.overview.audit import read_audit
from migration_tools.overview.hand_overs import read_hand_overs
from migration_tools.playbook.registry import get
from migration_tools.reports.kinds import Format, Kind
from migration_tools.routing.shadow.report import read_report
from migration_tools.state.journal import record
from migration_tools.state.models import Verification
from migration_tools.verification.report import VerificationReport

KINDS = (Kind.VERIFY, Kind.SHADOW, Kind.CUTOVER, Kind.AUDIT)


class Command(Examples):
    """Reads the monolith's own tables; needs no other side. What couples contexts is strangle_analyze's report."""

    help = (
        "Render what was verified, shadowed or handed over last, or audit all that was done to a context. Exit codes: "
        "0 all is well, 3 it is not, 4 there is nothing to report yet."
    )
    examples = (
        "verify orders",
        "audit orders --format junit --output var/reports/audit-orders.xml",
        "cutover orders --format html --output var/reports/cutover-orders.html",
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=[str(each) for each in KINDS], help="what to report")
        parser.add_argument("context", help="the bounded context, as its playbook names it")
        parser.add_argument("--format", choices=[str(each) for each in Format], default="text")
        parser.add_argument("--output", type=Path, help="write the report to this file instead of standard output")
        parser.add_argument(
            "--reveal", action="store_true", help="with values that are kept; journalled, and needs --reason"
        )
        parser.add_argument("--reason", default="", help="why values are shown, for the journal")

    def handle(self, *args: Any, **options: Any) -> None:
        context, kind, reveal = options["context"], Kind(options["kind"]), options["reveal"]
        if reveal and not options["reason"].strip():
            raise CommandError(REVEAL_NEEDS_REASON, returncode=ExitCode.USAGE)
        get(context)
        report = _read(kind, context)
        if reveal:
            record(context, "report", "revealed", {"kind": str(kind)}, options["reason"])
        self._write(render(kind, report, options["format"], reveal=reveal), options["output"], private=reveal)
        clean = report.equal if isinstance(report, VerificationReport) else report.clean
        if not clean:
            raise SystemExit(int(_why(kind, report)))

    def _write(self, text: str, output: Path | None, *, private: bool) -> None:
        if output is None:
            self.stdout.write(text, ending="")
            return
        write_output(text, output, private=private)
        self.stdout.write(f"written to {output}")


def _read(kind: Kind, context: str) -> Any:
    match kind:
        case Kind.SHADOW:
            if not apps.is_installed("migration_tools.routing"):
                raise StrangleError("INSTALLED_APPS lacks 'migration_tools.routing'; add it and migrate")
            return read_report(context)
        case Kind.CUTOVER:
            return read_hand_overs(context)
        case Kind.AUDIT:
            return read_audit(context)
    last = Verification.objects.using(settings().DATABASE).filter(context=context).order_by("-id").first()
    if last is None:
        raise CommandError(
            f"nothing of {context!r} was verified yet; run strangle_verify {context}", returncode=ExitCode.GATE_NOT_MET
        )
    return VerificationReport.from_json(last.report)


def _why(kind: Kind, report: Any) -> ExitCode:
    """Differences, or nothing to tell of yet."""
    empty = {
        Kind.SHADOW: lambda: not report.compared,
        Kind.CUTOVER: lambda: not report.hand_overs and not report.open_move,
        Kind.AUDIT: lambda: not any(each.wrong for each in report.checks),
    }
    return ExitCode.GATE_NOT_MET if kind in empty and empty[kind]() else ExitCode.DIFFERENCES
