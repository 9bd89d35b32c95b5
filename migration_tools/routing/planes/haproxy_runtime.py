"""HAProxy's runtime socket: read and change maps, count the requests that a backend has open."""

import csv
import io
import socket
from pathlib import Path

from migration_tools.errors import RoutingError

ANSWER_SECONDS = 5.0
_BACKENDS = 2  # of the types that `show stat` knows


class Runtime:
    """One running HAProxy; every call is a connection of its own.

    Raises:
        OSError: nobody listens at the socket, or it does not answer in time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read_map(self, file: str) -> dict[str, str]:
        """What a map holds now.

        Raises:
            RoutingError: the running HAProxy knows no such map.
        """
        rows = {}
        for line in self._ask(f"show map {file}").splitlines():
            if not line.startswith("0x"):
                if line.strip():
                    raise RoutingError(f"HAProxy at {str(self.path)!r} does not show the map {file!r}: {line.strip()}")
                continue
            _, key, value = line.split(" ", 2)
            rows[key] = value
        return rows

    def set_map(self, file: str, key: str, value: str) -> None:
        """Change one row of a map.

        Raises:
            RoutingError: HAProxy refuses; its reason is told.
        """
        said = self._ask(f"set map {file} {key} {value}").strip()
        if said:
            raise RoutingError(f"HAProxy at {str(self.path)!r} does not change {key!r} of {file!r}: {said}")

    def open_requests(self, backend: str) -> int:
        """How many requests a backend has taken and not answered yet; 0 for one that does not exist."""
        text = self._ask(f"show stat {backend} {_BACKENDS} -1").lstrip("# ")
        return sum(int(row["scur"]) for row in csv.DictReader(io.StringIO(text)) if row.get("pxname") == backend)

    def process(self) -> str:
        """The number of the process that answers here; another one after a reload."""
        lines = self._ask("show info").splitlines()
        return next((line.partition(": ")[2] for line in lines if line.startswith("Pid: ")), "")

    def _ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(self.path))
            connection.sendall(f"{command}\n".encode())
            parts = []
            while part := connection.recv(65_536):
                parts.append(part)
        return b"".join(parts).decode()
