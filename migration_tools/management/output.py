"""Where a report goes that is not printed: the file of --output."""

from pathlib import Path

from migration_tools.errors import NotWritten
from migration_tools.reports.files import write_whole


def write_output(text: str, output: Path, *, private: bool = False) -> None:
    """Write the file, and the folders above it; `private` keeps it from others than its owner.

    Raises:
        NotWritten: it cannot be written.
    """
    try:
        write_whole(output, text, private=private)
    except OSError as error:
        remedy = "name another file with --output, or none to print it"
        raise NotWritten("the report", output, error, remedy) from error
