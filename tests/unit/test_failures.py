"""Whatever ends a command early becomes one sentence with its exit code; a fault of ours stays a traceback."""

import json
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import CommandParser
from django.db.utils import OperationalError, ProgrammingError

from migration_tools.errors import ExitCode, GateNotMet
from migration_tools.management.examples import Examples
from migration_tools.management.failures import FAILURES, command_error


def missing_table() -> ProgrammingError:
    error = ProgrammingError("relation does not exist")
    error.__cause__ = psycopg.errors.UndefinedTable("relation does not exist")
    return error


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (GateNotMet("orders", "cutover", ["lag"]), ExitCode.GATE_NOT_MET, "lag"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "interrupted at once"),
        (PermissionError(13, "Permission denied", "report.json"), ExitCode.ERROR, "refused a file or a connection: "),
        (missing_table(), ExitCode.ERROR, "a table is missing"),
        (OperationalError("the server went away"), ExitCode.ERROR, "nothing was changed"),
        (psycopg.OperationalError("the server went away"), ExitCode.ERROR, "nothing was changed"),
    ],
    ids=["refusal", "second signal", "system", "missing table", "django's driver", "our driver"],
)
def test_each_failure_is_a_sentence_with_its_code(error: BaseException, code: ExitCode, says: str) -> None:
    assert isinstance(error, FAILURES)
    told = command_error(error, "nothing was changed")
    assert told.returncode == code
    assert says in str(told)


@pytest.mark.parametrize("fault", [KeyError("x"), TypeError("x"), AssertionError("x")])
def test_a_fault_of_ours_is_none(fault: BaseException) -> None:
    assert not isinstance(fault, FAILURES)


class Answering(Examples):
    """Says what it found, then that it is not good."""

    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps({"found": 1}))
        raise CommandError("one was found", returncode=ExitCode.DIFFERENCES)


def test_what_has_answered_is_not_told_again_of_its_failure() -> None:
    out = StringIO()
    with pytest.raises(CommandError, match="one was found"):
        call_command(Answering(), "--format", "json", stdout=out)
    assert json.loads(out.getvalue()) == {"found": 1}
