"""A real Envoy under a real agent between a test and two tiny upstreams that remember what they were sent."""

import hashlib
import http.client
import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from migration_tools.routing.table import RoutingTable, ensure_context
from proxy.agent import Agent, Report
from proxy.options import Address, ProxyOptions


def await_until(condition: Callable[[], Any], seconds: float = 15.0, what: str = "") -> None:
    """Wait for a condition of another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client got."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def side(self) -> str:
        return str(self.document["side"])

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def cookies(self) -> dict[str, str]:
        pairs = [value.split(";")[0].partition("=") for key, value in self.headers if key == "set-cookie"]
        return {name: value for name, _, value in pairs}


class Upstream:
    """One side: answers with its name and what it received; `fenced` refuses writes with the marker.

    `broken` answers 500, and `seconds` is how long it takes.
    """

    def __init__(self, side: str) -> None:
        self.side = side
        self.fenced = threading.Event()
        self.broken = threading.Event()
        self.seconds = 0.0
        self.writes: list[str] = []
        self.seen: list[str] = []
        handler = type("Handler", (_Handler,), {"upstream": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.address = Address(host="127.0.0.1", port=self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A proxy that was killed resets its connections: nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    upstream: Upstream
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            return  # cut off on its way: no server hands that to an application
        if self.upstream.fenced.is_set() and self.command == "POST":
            self._send(503, b"fenced", {"x-strangler-fenced": "1"})
            return
        if self.upstream.seconds:
            threading.Event().wait(self.upstream.seconds)
        if self.upstream.broken.is_set():
            self._send(500, b"broken", {})
            return
        self.upstream.seen.append(f"{self.command} {self.path}")
        digest = hashlib.sha256(body).hexdigest()
        if self.command == "POST":
            self.upstream.writes.append(digest)
        said = {
            "side": self.upstream.side,
            "path": self.path,
            "headers": {key.lower(): value for key, value in self.headers.items()},
            "sha256": digest,
        }
        self._send(200, json.dumps(said).encode(), {"x-side": self.upstream.side})

    do_GET = do_HEAD = do_OPTIONS = do_POST = _answer

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@dataclass
class Rig:
    """Envoy, its agent, both upstreams, and the table the agent reads."""

    options: ProxyOptions
    old: Upstream
    new: Upstream
    table: RoutingTable
    reports: list[Report] = field(default_factory=list)
    outage: bool = False
    agent: Agent = field(init=False)
    _thread: threading.Thread | None = None

    def read(self) -> RoutingTable:
        if self.outage:
            raise ConnectionError("the database is down")
        return self.table

    def start(self, **options: Any) -> None:
        self.agent = Agent(replace(self.options, **options), self.read, self.reports.append)
        self._thread = threading.Thread(target=self.agent.run, daemon=True)
        self._thread.start()
        await_until(lambda: self.agent.state.applied_version, what="the first table in force")

    def stop(self) -> None:
        if self._thread is not None:
            self.agent.stop()
            self._thread.join(20)
            assert not self._thread.is_alive()

    def offer(self, change: Callable[[RoutingTable], RoutingTable]) -> int:
        """Make a changed table the current one, without waiting."""
        self.table = replace(change(self.table), version=self.table.version + 1)
        return self.table.version

    def publish(self, change: Callable[[RoutingTable], RoutingTable]) -> None:
        """Make a changed table the current one and wait until Envoy answers by it."""
        version = self.offer(change)
        await_until(lambda: self.agent.state.applied_version == version, what=f"version {version} in force")

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        listen = self.options.listen
        connection = http.client.HTTPConnection(listen.host, listen.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            found = [(key.lower(), value) for key, value in response.getheaders()]
            return Answer(status=response.status, headers=found, body=response.read())
        finally:
            connection.close()

    def side_of(self, bucket_key: str) -> str:
        return self.ask("GET", "/api/orders/", {"Cookie": f"a=b; sx_bucket={bucket_key}; c=d"}).side


@contextmanager
def rig(**options: Any) -> Iterator[Rig]:
    """A running rig whose table has one context, orders, still wholly on the old side."""
    old, new = Upstream("old"), Upstream("new")
    directory = Path(tempfile.mkdtemp(prefix="sx"))  # short: the kernel limits the length of socket paths
    directory.chmod(0o711)  # Envoy may run as somebody else, in the private directory below it
    made = Rig(
        options=ProxyOptions(
            directory=directory / "envoy",
            listen=Address(host="127.0.0.1", port=free_port()),
            upstreams={"monolith": (old.address,), "orders": (new.address,)},
            **options,
        ),
        old=old,
        new=new,
        table=ensure_context(RoutingTable(version=1), "orders", ["/api/orders/"], "orders"),
    )
    try:
        made.start()
        yield made
    finally:
        made.stop()
        old.close()
        new.close()
        shutil.rmtree(directory)
