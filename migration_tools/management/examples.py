"""What every command's --help ends with: lines that can be typed as they stand, and the exit codes."""

from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db.utils import ProgrammingError

from migration_tools.conf import find_mistakes
from migration_tools.errors import ExitCode
from migration_tools.management.direct import going_direct

EXIT_CODES = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)

UNDEFINED_TABLE = "42P01"


class Examples(BaseCommand):
    """A command whose --help ends with examples: each of `examples` is what follows the command's name."""

    examples: tuple[str, ...] = ("orders",)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Keep the examples of the epilogue as they are written."""
        lines = "\n".join(f"  manage.py {subcommand} {each}".rstrip() for each in self.examples)
        kwargs.setdefault("formatter_class", _Formatter)
        kwargs.setdefault("epilog", f"examples:\n{lines}\n\nexit codes: {EXIT_CODES}")
        return super().create_parser(prog_name, subcommand, **kwargs)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run it past poolers: what a command does with Django's own connections needs sessions too.

        Raises:
            CommandError: the command's own, or a table of the toolkit that it needs is missing.
        """
        if find_mistakes(getattr(settings, "MIGRATION_TOOLS", {})):
            return super().execute(*args, **options)  # the command itself says what is wrong
        try:
            with going_direct():
                return super().execute(*args, **options)
        except ProgrammingError as error:
            # As psycopg and psycopg2 call it.
            code = getattr(error.__cause__, "sqlstate", None) or getattr(error.__cause__, "pgcode", None)
            if code != UNDEFINED_TABLE:
                raise
            raise CommandError(
                f"a table is missing ({str(error).splitlines()[0]}); see that INSTALLED_APPS has the app that this "
                "command is for, and run manage.py migrate",
                returncode=ExitCode.ERROR,
            ) from error


class _Formatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Epilogues as they are written, and Django's own options last."""
