"""What ended a command early, as one sentence with an exit code."""

from django.core.management.base import CommandError
from django.db.utils import Error as DatabaseFailure

from migration_tools.errors import ExitCode, StrangleError
from migration_tools.stores.postgres import describe_failure, errors

#: All that becomes a sentence; anything else is a fault of ours and shows where it happened.
FAILURES = (StrangleError, KeyboardInterrupt, DatabaseFailure, errors.Error, OSError)
KEPT = "what is committed is kept. When it answers again, run the same command again"
UNDEFINED_TABLE = "42P01"


def command_error(error: BaseException, left: str = KEPT) -> CommandError:
    """One of FAILURES as a command ends with it; `left` says what a database that failed has kept, and how to go on."""
    if isinstance(error, StrangleError):
        return CommandError(str(error), returncode=error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return CommandError(
            "interrupted at once; what is committed is kept. Run the same command again",
            returncode=ExitCode.INTERRUPTED,
        )
    if isinstance(error, OSError):
        return CommandError(
            f"the system refused a file or a connection: {error}; what is committed is kept. Mend that, then run the "
            "same command again",
            returncode=ExitCode.ERROR,
        )
    if _code(error) == UNDEFINED_TABLE:
        return CommandError(
            f"a table is missing ({describe_failure(error)}); see that INSTALLED_APPS has the app that this command is "
            "for, and run manage.py migrate",
            returncode=ExitCode.ERROR,
        )
    return CommandError(f"a database failed: {describe_failure(error)}; {left}", returncode=ExitCode.ERROR)


def _code(error: BaseException) -> str | None:
    """PostgreSQL's code, as psycopg and psycopg2 call it, of a driver's error or of Django's around it."""
    for each in (error, error.__cause__):
        for name in ("sqlstate", "pgcode"):
            if code := getattr(each, name, None):
                return str(code)
    return None
