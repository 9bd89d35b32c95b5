"""What every command does alike: --help ends with lines that can be typed, and a failure is a sentence with a code."""

import json
from argparse import RawDescriptionHelpFormatter
from contextlib import nullcontext
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter

from migration_tools.conf import find_mistakes
from migration_tools.errors import ExitCode
from migration_tools.management.direct import going_direct
from migration_tools.management.failures import FAILURES, KEPT, command_error

EXIT_CODES = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)


class Examples(BaseCommand):
    """A command whose --help ends with examples: each of `examples` is what follows the command's name.

    With `--format json` a failure is one object too, unless the command has answered already.
    """

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
        out = _Heard(options.get("stdout") or self.stdout)
        try:
            with nullcontext() if mistaken else going_direct():
                return super().execute(*args, **{**options, "stdout": out})
        except CommandError as error:
            self._answer(error, options, out)
            raise
        except FAILURES as error:
            failure = command_error(error, self.left_by_a_failure)
            self._answer(failure, options, out)
            raise failure from error

    def _answer(self, failure: CommandError, options: dict[str, Any], out: "_Heard") -> None:
        if options.get("format") == "json" and not out.heard:
            out.write(json.dumps({"error": str(failure), "exit_code": int(failure.returncode)}) + "\n")


class _Heard:
    """A stream that knows whether anything was written to it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.heard = False

    def write(self, text: str) -> Any:
        self.heard = True
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Formatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Epilogues as they are written, and Django's own options last."""
