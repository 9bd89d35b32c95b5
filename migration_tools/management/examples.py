"""What every command's --help ends with: lines that can be typed as they stand, and the exit codes."""

from argparse import RawDescriptionHelpFormatter
from contextlib import nullcontext
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter

from migration_tools.conf import find_mistakes
from migration_tools.errors import ExitCode
from migration_tools.management.direct import going_direct
from migration_tools.management.failures import FAILURES, KEPT, command_error

EXIT_CODES = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)


class Examples(BaseCommand):
    """A command whose --help ends with examples: each of `examples` is what follows the command's name."""

    examples: tuple[str, ...] = ("orders",)
    #: What a database that fails leaves, and how to go on.
    left_by_a_failure = KEPT

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Keep the examples of the epilogue as they are written."""
        lines = "\n".join(f"  manage.py {subcommand} {each}".rstrip() for each in self.examples)
        kwargs.setdefault("formatter_class", _Formatter)
        kwargs.setdefault("epilog", f"examples:\n{lines}\n\nexit codes: {EXIT_CODES}")
        return super().create_parser(prog_name, subcommand, **kwargs)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run it past poolers: what a command does with Django's own connections needs sessions too.

        Raises:
            CommandError: the command's own; or what it was refused, a database that failed or went away, or a second
                signal, as a sentence with its exit code.
        """
        # Of mistakes in the settings the command itself says what is wrong.
        mistaken = find_mistakes(getattr(settings, "MIGRATION_TOOLS", {}))
        try:
            with nullcontext() if mistaken else going_direct():
                return super().execute(*args, **options)
        except FAILURES as error:
            raise command_error(error, self.left_by_a_failure) from error


class _Formatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Epilogues as they are written, and Django's own options last."""
