"""Write a context's first playbook from its models."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.errors import StrangleError
from migration_tools.generation.playbook import render_playbook
from migration_tools.management.examples import Examples
from migration_tools.management.shape_options import add_shape_options, read_shapes


class Command(Examples):
    """Writes one file, and never over another."""

    help = "Write a context's first playbook."
    examples = ("orders --output playbooks/orders.py",)
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("context", help="the bounded context: an app label, or a name of the context map")
        parser.add_argument("--target", help="alias of the service's database (default: the context)")
        add_shape_options(parser)
        parser.add_argument("--output", help="write to this file, which must not exist; default: standard output")
        parser.add_argument("--dry-run", action="store_true", help="print it, even with --output")

    def handle(self, *args: Any, **options: Any) -> None:
        context = options["context"]
        try:
            own, copies = read_shapes(context, options)
            text = render_playbook(context, own, copies, target=options["target"] or context)
        except StrangleError as error:
            raise CommandError(str(error), returncode=error.exit_code) from error
        if options["output"] is None or options["dry_run"]:
            self.stdout.write(text, ending="")
            return
        path = Path(options["output"])
        try:
            with path.open("x") as file:
                file.write(text)
        except FileExistsError as error:
            raise CommandError(f"{options['output']!r} exists; remove it, or choose another --output") from error
        self.stdout.write(
            f"{path} is written; name its module in MIGRATION_TOOLS['PLAYBOOKS'], then run manage.py check"
        )
