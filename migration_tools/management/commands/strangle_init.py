"""Write a context's first playbook from its models."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.generation.formatting import tidied, tidy
from migration_tools.generation.playbook import class_name, render_playbook
from migration_tools.generation.suites import render_playbook_test
from migration_tools.management.examples import Examples
from migration_tools.management.shape_options import add_shape_options, read_shapes


class Command(Examples):
    """Writes the playbook and its test, and never over another file."""

    help = "Write a context's first playbook."
    examples = ("orders --output playbooks/orders.py",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("context", help="the bounded context: an app label, or a name of the context map")
        parser.add_argument("--target", help="alias of the service's database (default: the context)")
        add_shape_options(parser)
        parser.add_argument("--output", help="write to this file, which must not exist; default: standard output")
        parser.add_argument("--module", help="from where its test imports the playbook; default: as --output says")
        parser.add_argument("--dry-run", action="store_true", help="print it, even with --output")

    def handle(self, *args: Any, **options: Any) -> None:
        context = options["context"]
        own, copies = read_shapes(context, options)
        text = render_playbook(context, own, copies, target=options["target"] or context)
        if options["output"] is None or options["dry_run"]:
            self.stdout.write(tidied(text, options["output"] or f"{context}.py"), ending="")
            return
        path = Path(options["output"])
        beside = path.with_name(f"test_{path.name}")
        module = options["module"] or _module(path)
        files = {path: text, beside: render_playbook_test(context, module, class_name(context))}
        for each in files:
            if each.exists():
                raise CommandError(f"{str(each)!r} exists; remove it, or choose another --output")
        for each, written in files.items():
            each.write_text(written)
        tidy(files)
        self.stdout.write(
            f"{path} is written, and {beside.name} beside it; name {module!r} in MIGRATION_TOOLS['PLAYBOOKS'], then "
            "run manage.py check and the test"
        )


def _module(path: Path) -> str:
    """Below the current folder by its way there, elsewhere by its name alone."""
    place = path.resolve().with_suffix("")
    here = Path.cwd().resolve()
    return ".".join(place.relative_to(here).parts) if place.is_relative_to(here) else place.name
