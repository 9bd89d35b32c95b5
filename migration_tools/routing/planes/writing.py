"""Put rendered files where a data plane reads them: each replaced at once, and only if it has changed."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from migration_tools.errors import RoutingError


def write_files(directory: str, files: Mapping[str, str]) -> list[str]:
    """Replace the files whose content changed; returns their names.

    Raises:
        RoutingError: the directory cannot be written.
    """
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
        return [name for name, content in files.items() if _replace(path / name, content.encode())]
    except OSError as error:
        raise RoutingError(f"the files cannot be written into {directory!r}: {error}") from error


def _replace(target: Path, data: bytes) -> bool:
    if target.exists() and target.read_bytes() == data:
        return False
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as temporary:
        temporary.write(data)
        temporary.flush()
        os.fsync(temporary.fileno())
        # They hold names and addresses, and the data plane may run as another user.
        os.fchmod(temporary.fileno(), 0o644)
    Path(temporary.name).rename(target)
    return True
