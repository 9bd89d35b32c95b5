"""A small HTTP server that stands for a service elsewhere: slow, failing, or gone at will, and it counts its calls."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from migration_tools.testing.postgres import free_port

#: (path, query, headers) to (status, JSON, headers).
Answer = Callable[[str, dict[str, str], Mapping[str, str]], tuple[int, Any]]


class Leaf:
    """Serves on a port that outlives `stop()` and `start()`."""

    def __init__(self, answer: Answer, name: str = "leaf"):
        self.name = name
        self.answer = answer
        self.port = free_port()
        self.delay_seconds = 0.0
        self.failing: list[int] = []
        self.always: int | None = None
        self.answer_headers: dict[str, str] = {}
        self.calls: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[bytes] = []
        self.together = 0
        self.most_together = 0
        self._lock = threading.Lock()
        self._hurry = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        leaf = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                leaf._serve(self)

            do_POST = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_: Any) -> None:
                """A client that gave up is what these tests are about."""

        self._hurry.clear()
        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self.hurry()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def hurry(self) -> None:
        """Answer at once what waits, and from now on, until it is started again."""
        self._hurry.set()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.together += 1
            self.most_together = max(self.most_together, self.together)
            self.calls.append((handler.command, handler.path, dict(handler.headers)))
            failing = self.failing.pop(0) if self.failing else self.always
        try:
            length = int(handler.headers.get("Content-Length") or 0)
            self.bodies.append(handler.rfile.read(length))
            self._hurry.wait(self.delay_seconds)
            parts = urlsplit(handler.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if failing is None:
                status, document = self.answer(parts.path, query, handler.headers)
            else:
                status, document = failing, {"detail": "made to fail"}
            body = b"" if status == 304 else json.dumps(document).encode()
            if self._server is None:
                handler.close_connection = True
                return
            handler.send_response(status)
            for name, value in self.answer_headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True
        finally:
            with self._lock:
                self.together -= 1


@contextmanager
def serving(**answers: Answer) -> Iterator[dict[str, Leaf]]:
    """Leaves by name, started."""
    leaves = {name: Leaf(answer, name) for name, answer in answers.items()}
    try:
        for leaf in leaves.values():
            leaf.start()
        yield leaves
    finally:
        for leaf in leaves.values():
            leaf.stop()


def elapsed(action: Callable[[], Any]) -> tuple[float, Any]:
    """How long an action took, and what it gave or raised."""
    began = time.monotonic()
    try:
        result = action()
    except Exception as error:
        result = error
    return time.monotonic() - began, result
