"""Name the system of record of every model and field: the one side that may write it now."""

import json
from dataclasses import asdict
from itertools import groupby
from typing import Any

from django.core.management.base import CommandParser

from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.system_of_record import Record, systems_of_record
from migration_tools.management.examples import Examples
from migration_tools.playbook.registry import load
from migration_tools.state.journal import phase_of


class Command(Examples):
    """Reads the map, the playbooks and the phases."""

    help = "Who may write what now."
    examples = ("orders",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("context", nargs="?", help="this context alone")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        playbooks = load()
        phases = {context: phase_of(context) for context in playbooks}
        records = [
            each
            for each in systems_of_record(load_contexts(), playbooks, phases)
            if options["context"] in (None, each.context)
        ]
        if options["format"] == "json":
            self.stdout.write(json.dumps({"records": [asdict(each) for each in records]}))
            return
        for _, group in groupby(records, key=lambda each: each.model):
            for line in _lines(list(group)):
                self.stdout.write(line)


def _lines(records: list[Record]) -> list[str]:
    first = records[0]
    phase = f", phase {first.phase}" if first.phase else ""
    answers = f", {first.owner} ({first.team})" if first.owner else ""
    enforced = f" (enforced by the {first.enforced_by})" if first.enforced_by else ""
    lines = [f"{first.model}: context {first.context}{answers}{phase}; written by {first.writer}{enforced}"]
    for each in records:
        copies = f"  copied to {', '.join(each.copies)}" if each.copies else ""
        lines.append(f"  {each.field}{copies}")
    return lines
