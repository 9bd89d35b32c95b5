"""A stand-in for a search server, which answers as it is told: no server in memory has a bad day of its own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOTHING: dict[str, Any] = {"_shards": {"failed": 0}, "hits": {"hits": []}, "errors": False}


@dataclass
class StandIn:
    """The answers by a part of the path; what was asked, each with its credentials and body."""

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A server for the block, of the user `shop` with the password `hu:sh`."""
    said = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            said.asked.append((f"{self.command} {self.path}", self.headers.get("Authorization", ""), body))
            found = (each for part, each in said.answers.items() if part in self.path)
            status, document = next(found, (200, NOTHING))
            content = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    said.url = f"http://shop:hu%3Ash@127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield said
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
