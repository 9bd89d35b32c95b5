"""Keep contexts apart that are not cut yet: a baseline of known couplings, import contracts, database roles."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.analysis.baseline import Baseline, Coupling, couplings_of, path_of_baseline
from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.foreign_columns import ForeignColumn, foreign_columns, removed
from migration_tools.analysis.guard import refusal
from migration_tools.analysis.import_contracts import render_contracts
from migration_tools.analysis.roles import sequences, statements
from migration_tools.analysis.trace import Trace
from migration_tools.analysis.traced import find_traced
from migration_tools.conf import settings
from migration_tools.errors import AnalysisError, ExitCode
from migration_tools.management.examples import Examples
from migration_tools.stores.postgres import connect


class Command(Examples):
    """check | baseline | contracts | roles."""

    help = "Let couplings of contexts become fewer and never more."
    examples = ("check --trace var/traces",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["check", "baseline", "contracts", "roles"])
        parser.add_argument(
            "--trace", action="append", default=[], metavar="PATH", help="a trace, or a directory of traces; repeatable"
        )
        parser.add_argument(
            "--accept", action="store_true", help="baseline: take new couplings in, instead of refusing"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="baseline: say what it would hold; roles: print, even with --apply"
        )
        parser.add_argument("--prefix", default="", help="roles: what their names begin with")
        parser.add_argument("--apply", action="store_true", help="roles: run the statements instead of printing them")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        contexts = load_contexts()
        if options["action"] == "contracts":
            self.stdout.write(render_contracts(contexts), ending="")
        elif options["action"] == "roles":
            self._roles(contexts, options)
        else:
            self._ratchet(contexts, options)

    def _ratchet(self, contexts: ContextMap, options: dict[str, Any]) -> None:
        if not options["trace"]:
            raise AnalysisError("give --trace: a directory that pytest --strangle-trace or TraceMiddleware has written")
        trace = Trace.read([Path(each) for each in options["trace"]], contexts)
        found, columns = couplings_of(find_traced(trace)), foreign_columns(trace)
        before = Baseline.read(path_of_baseline())
        new = {each: finding for each, finding in found.items() if not before.accepts(each)}
        gone = before.couplings - set(found)
        broken = removed(before.columns)
        first = not (before.couplings or before.columns)
        if options["action"] == "baseline" and (not (new or broken) or options["accept"] or first):
            if not options["dry_run"]:
                Baseline(frozenset(found), columns).save(path_of_baseline())
            new, broken = {}, []
            verb = "would be" if options["dry_run"] else "are"
            told = f"{len(found)} couplings {verb} accepted in {path_of_baseline().name}, {len(gone)} are gone"
        else:
            told = f"{len(found)} couplings, {len(new)} of them new; {len(gone)} of the baseline are gone"
        self._tell(told, new, sorted(gone), broken, options["format"])
        wrong = [f"{len(new)} couplings are new"] if new else []
        wrong += [f"{len(broken)} uses by other contexts lost their column"] if broken else []
        if wrong:
            raise CommandError(
                f"{' and '.join(wrong)}; undo that, or accept it with strangle_guard baseline --accept",
                returncode=ExitCode.DIFFERENCES,
            )

    def _tell(
        self, told: str, new: dict[Coupling, Finding], gone: list[Coupling], broken: list[ForeignColumn], form: str
    ) -> None:
        if form == "json":
            result = {
                "message": told,
                "new": [{**finding.to_json(), "coupling": str(each)} for each, finding in sorted(new.items())],
                "gone": [str(each) for each in gone],
                "removed": [asdict(each) for each in broken],
                "exit_code": int(ExitCode.DIFFERENCES if new or broken else ExitCode.DONE),
            }
            self.stdout.write(json.dumps(result))
            return
        for coupling, finding in sorted(new.items()):
            self.stdout.write(refusal(coupling, finding))
        for column in broken:
            self.stdout.write(f"removed: {column}")
        for coupling in gone:
            self.stdout.write(f"gone: {coupling}")
        self.stdout.write(told)

    def _roles(self, contexts: ContextMap, options: dict[str, Any]) -> None:
        with connect(settings().DATABASE, "guard") as conn:
            made = [*statements(contexts, options["prefix"]), *sequences(conn, contexts, options["prefix"])]
            if options["apply"] and not options["dry_run"]:
                with conn.transaction():
                    for statement in made:
                        conn.execute(statement)
                self.stdout.write(f"{len(made)} statements were run")
                return
            for statement in made:
                self.stdout.write(f"{statement.as_string(conn)};")
