"""Where a report goes that is not printed: a file, whole or not at all."""

from pathlib import Path

from migration_tools.errors import NotWritten


def write_report(text: str, output: Path, *, private: bool = False) -> None:
    """Write the file, and the folders above it; `private` keeps it from others than its owner.

    Raises:
        NotWritten: it cannot be written; nothing is left of it.
    """
    partial = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600 if private else 0o666)
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        partial.replace(output)
    except OSError as error:
        remedy = "name another file with --output, or none to print it"
        raise NotWritten("the report", output, error, remedy) from error
