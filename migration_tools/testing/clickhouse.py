"""A ClickHouse for tests: chdb behind ClickHouse's own HTTP protocol, in a process of its own, killable.

One process may open chdb's directory, and no wheel has the server: so a small server speaks as much of the protocol as
clickhouse-connect needs. Several processes can work on it, as on a real one.
"""

import base64
import contextlib
import http.server
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from chdb import session

from migration_tools.testing.postgres import free_port

START_SECONDS = 60
PASSWORD_VARIABLE = "STRANGLE_TEST_CLICKHOUSE_PASSWORD"  # noqa: S105  (a name)


class EmbeddedClickHouseServer:
    """One server on 127.0.0.1; its data, port and password outlive `kill()` and `start()`."""

    def __init__(self, directory: Path | None = None):
        self.directory = directory or Path(tempfile.mkdtemp(prefix="strangle-clickhouse-"))
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What the store's URL is."""
        return f"http://default:{self.password}@127.0.0.1:{self.port}/analytics"

    def start(self) -> Self:
        """Start, and return when it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "migration_tools.testing.clickhouse", str(self.directory / "data"), str(self.port)],
            env={"PATH": "/usr/bin:/bin", PASSWORD_VARIABLE: self.password},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
        )
        timer = threading.Timer(START_SECONDS, self._process.kill)
        timer.start()
        try:
            if self._process.stdout is None or not self._process.stdout.readline():
                raise RuntimeError("the embedded ClickHouse did not start")
        finally:
            timer.cancel()
        return self

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._end(signal.SIGKILL)

    def destroy(self) -> None:
        """End it and remove the directory."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.destroy()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None


def serve(directory: str, port: int, password: str) -> None:
    """Answer statements until killed, one at a time."""
    make: Any = session.Session
    engine = make(directory)
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            given = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            body = self._body().decode()
            statement = "\n".join(part for part in (given.get("query", [""])[0], body) if part)
            parameters = {name[6:]: values[0] for name, values in given.items() if name.startswith("param_")}
            if not self._is_known():
                self._answer(HTTPStatus.FORBIDDEN, b"Code: 516. DB::Exception: (AUTHENTICATION_FAILED)")
                return
            try:
                with lock:
                    answer = engine.query(statement, "TabSeparated", params=parameters).bytes()
            except RuntimeError as error:
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode())
                return
            self._answer(HTTPStatus.OK, bytes(answer or b""))

        def _is_known(self) -> bool:
            expected = base64.b64encode(f"default:{password}".encode()).decode()
            return secrets.compare_digest(self.headers.get("Authorization", ""), f"Basic {expected}")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _answer(self, status: HTTPStatus, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), os.environ[PASSWORD_VARIABLE])
