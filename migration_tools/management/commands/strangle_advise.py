"""Say which patterns a context needs once it is on its own, from what the analysis measured."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.analysis.advice import advise
from migration_tools.analysis.analyse import Evidence, analyse
from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.database import DatabaseFacts, read_facts, read_shares
from migration_tools.analysis.trace import Trace
from migration_tools.conf import settings
from migration_tools.management.examples import Examples
from migration_tools.stores.postgres import connect


class Command(Examples):
    """Reads only."""

    help = "Which patterns a context needs."
    examples = ("orders --trace var/traces", "orders --region orders_order.currency")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("context", help="the bounded context, as the map names it")
        parser.add_argument(
            "--trace", action="append", default=[], metavar="PATH", help="a trace, or a directory of traces; repeatable"
        )
        parser.add_argument("--no-database", action="store_true", help="leave the database alone")
        parser.add_argument(
            "--region", metavar="TABLE.COLUMN", help="the column that says to which region a row belongs"
        )
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        contexts = load_contexts()
        traces = [Path(each) for each in options["trace"]]
        facts, regions = DatabaseFacts(), None
        if options["no_database"] and options["region"]:
            raise CommandError("--region asks the database; leave out --no-database")
        if not options["no_database"]:
            with connect(settings().DATABASE, "advise") as conn:
                facts = read_facts(conn)
                regions = read_shares(conn, options["region"]) if options["region"] else None
        evidence = Evidence(trace=Trace.read(traces, contexts) if traces else None, facts=facts)
        given = advise(analyse(contexts, evidence), options["context"], regions)
        if options["format"] == "json":
            self.stdout.write(json.dumps({"context": options["context"], "advice": [asdict(each) for each in given]}))
            return
        for each in given:
            self.stdout.write(f"{'yes' if each.applies else 'no ':3}  {each.pattern}: {each.because}")
            if each.applies:
                self.stdout.write(f"     {each.how}")
