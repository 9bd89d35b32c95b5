"""Name the system of record of every model and field: the one side that may write it now."""

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.record_sheet import sheet_of
from migration_tools.analysis.system_of_record import Record, systems_of_record
from migration_tools.errors import AnalysisError
from migration_tools.management.examples import Examples
from migration_tools.management.output import write_output
from migration_tools.playbook.registry import load
from migration_tools.reports.render_html import render_html
from migration_tools.reports.render_text import render_markdown
from migration_tools.state.journal import phase_of


class Command(Examples):
    """Reads the map, the playbooks and the phases."""

    help = "Who may write what now."
    examples = ("orders", "--format html --output var/writers.html")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("context", nargs="?", help="this context alone")
        parser.add_argument("--format", choices=["text", "json", "markdown", "html"], default="text")
        parser.add_argument("--output", type=Path, help="write it to this file instead of standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        records = _records(options["context"])
        text = _rendered(records, options["format"])
        if options["output"] is None:
            self.stdout.write(text)
        else:
            write_output(text, options["output"])
            self.stdout.write(f"{len(records)} fields; written to {options['output']}")


def _records(context: str | None) -> list[Record]:
    playbooks, contexts = load(), load_contexts()
    if context is not None and context not in contexts.contexts:
        raise AnalysisError(f"no context is called {context!r}; known are {sorted(contexts.contexts)}")
    phases = {each: phase_of(each) for each in playbooks}
    return [each for each in systems_of_record(contexts, playbooks, phases) if context in (None, each.context)]


def _rendered(records: list[Record], form: str) -> str:
    if form == "json":
        return json.dumps({"records": [asdict(each) for each in records]})
    if form == "text":
        models = [list(group) for _, group in groupby(records, key=lambda each: each.model)]
        return "\n".join(line for group in models for line in _lines(group))
    sheet = sheet_of(records, timezone.now().strftime("%Y-%m-%d %H:%M UTC"))
    return render_html(sheet) if form == "html" else render_markdown(sheet)


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
