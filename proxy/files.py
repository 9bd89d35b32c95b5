"""The directory of watched files: changed files are replaced by renames; the last good table is kept."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from migration_tools.errors import RoutingError
from migration_tools.routing.table import RoutingTable, parse_document, to_document

LAST_GOOD = "table.json"
LOCK = "agent.lock"


class Directory:
    """A private directory that Envoy watches and that survives the control plane; `owner` is who Envoy runs as."""

    def __init__(self, path: Path, owner: tuple[int, int] | None = None) -> None:
        self.path = path
        self._owner = owner
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
        if owner is not None:
            os.chown(path, *owner)

    def write(self, files: Mapping[str, Any]) -> list[str]:
        """Replace the files whose content changed, in the given order; returns their names."""
        return [name for name, content in files.items() if self._replace(name, content)]

    def save_last_good(self, table: RoutingTable) -> None:
        """Remember the table that is being answered by, for a start without the database."""
        self._replace(LAST_GOOD, {"version": table.version, "document": to_document(table)}, durable=True)

    def last_good(self) -> RoutingTable | None:
        """The table that was last answered by; None when there is none.

        Raises:
            RoutingError: the file was changed by hand and cannot be read.
        """
        path = self.path / LAST_GOOD
        try:
            saved = json.loads(path.read_text())
            return parse_document(saved["document"], version=int(saved["version"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise RoutingError(f"{str(path)!r} cannot be read: {error}; delete it") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one agent.

        Raises:
            RoutingError: another agent runs here.
        """
        with (self.path / LOCK).open("a") as lock:
            os.fchmod(lock.fileno(), 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RoutingError(
                    f"another agent drives Envoy in {str(self.path)!r}; stop it or use another --directory"
                ) from None
            yield

    def _replace(self, name: str, content: Any, *, durable: bool = False) -> bool:
        data = json.dumps(content, indent=1, sort_keys=True).encode()
        target = self.path / name
        if target.exists() and target.read_bytes() == data:
            return False
        # Envoy sees a rename into place and nothing else; the same directory keeps it one file system.
        with tempfile.NamedTemporaryFile(dir=self.path, prefix=f".{name}.", delete=False) as temporary:
            temporary.write(data)
            temporary.flush()
            # Watched files need not outlive the machine: an agent that starts renders them anew, from what does.
            if durable:
                os.fsync(temporary.fileno())
            if self._owner is not None:
                os.fchown(temporary.fileno(), *self._owner)
        Path(temporary.name).rename(target)
        return True
