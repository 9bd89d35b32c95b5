"""Keep contexts apart that are not cut yet: a baseline of known couplings, import contracts, database roles."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.analysis.baseline import Baseline, couplings_of, path_of_baseline
from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.foreign_columns import foreign_columns, removed
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
        unknown = {each: finding for each, finding in found.items() if not before.accepts(each)}
        new = {each: finding for each, finding in unknown.items() if not contexts.exempts(each.rule, each.function)}
        exempt = set(unknown) - set(new)
        gone = before.couplings - set(found)
        broken = removed(before.columns)
        first = not (before.couplings or before.columns)
        if options["action"] == "baseline" and (not (new or broken) or options["accept"] or first):
            if not options["dry_run"]:
                Baseline(frozenset(found) - exempt, columns).save(path_of_baseline())
            new, broken = {}, []
            verb = "would be" if options["dry_run"] else "are"
            taken = len(found) - len(exempt)
            told = f"{taken} couplings {verb} accepted in {path_of_baseline().name}, {len(gone)} are gone"
        else:
            told = f"{len(found)} couplings, {len(new)} of them new; {len(gone)} of the baseline are gone"
        told += f"; {len(exempt)} exempt" if exempt else ""
        code = ExitCode.DIFFERENCES if new or broken else ExitCode.DONE
        if options["format"] == "json":
            result = {
                "message": told,
                "new": [{**finding.to_json(), "coupling": str(each)} for each, finding in sorted(new.items())],
                "gone": [str(each) for each in sorted(gone)],
                "exempt": [str(each) for each in sorted(exempt)],
                "removed": [asdict(each) for each in broken],
                "exit_code": int(code),
            }
            self.stdout.write(json.dumps(result))
        else:
            lines = [refusal(coupling, finding, contexts.exemptions) for coupling, finding in sorted(new.items())]
            lines += [f"removed: {column}" for column in broken] + [f"gone: {coupling}" for coupling in sorted(gone)]
            for line in (*lines, told):
                self.stdout.write(line)
        wrong = [f"{len(new)} couplings are new"] if new else []
        wrong += [f"{len(broken)} uses by other contexts lost their column"] if broken else []
        if wrong:
            raise CommandError(
                f"{' and '.join(wrong)}; undo that, or accept it with strangle_guard baseline --accept", returncode=code
            )

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
