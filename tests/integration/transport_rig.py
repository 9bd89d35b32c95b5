"""A rig for transport tests: an owner in memory behind a real HTTP feed, a recorder of what is applied."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from migration_tools.messaging.batch import Batch, RelationHead, RowRecord
from migration_tools.messaging.consumer import Consumer, Subscription
from migration_tools.messaging.inbox import positions
from migration_tools.messaging.transports.feed import HttpFeed
from migration_tools.stores.postgres import Connection, django_connection
from migration_tools.testing.brokers import EmbeddedBroker


def made(kind: type[EmbeddedBroker]) -> EmbeddedBroker:
    """A broker, not started. Where its server is missing: a failure in CI, which installs it; elsewhere a skip."""
    try:
        return kind()
    except RuntimeError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{error} (.ci/run installs it)")


TOKEN = "transport-tests"
RELATION = RelationHead(table="things", key=("id",), columns=("id",), rank=0, owned=False, patch=False)


class Owner:
    """The side that owns a stream: a list of records, and an HTTP feed that serves any range of it."""

    def __init__(self, stream: str, origin: str = "monolith"):
        self.stream = stream
        self.origin = origin
        self.head = 0
        self.asked: list[int] = []

    def write(self, records: int = 3) -> Batch:
        """Add records; returns the batch of them."""
        first, self.head = self.head, self.head + records
        return self.cut(first, self.head)

    def cut(self, first: int, last: int) -> Batch:
        """The records between two positions."""
        rows = [
            RowRecord(position=p, kind="r", relation=1, key=(str(p),), values=(str(p),), occurred=time.time())
            for p in range(first + 1, last + 1)
        ]
        relations = {1: RELATION} if rows else {}
        return Batch(stream=self.stream, origin=self.origin, first=first, last=last, relations=relations, rows=rows)

    @contextmanager
    def serving(self) -> Iterator[HttpFeed]:
        """Serve the feed for the block."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        feed = HttpFeed(self.stream, url=f"http://127.0.0.1:{server.server_port}/strangle/feed/", token=TOKEN)
        try:
            yield feed
        finally:
            feed._client.close()
            server.shutdown()
            thread.join()
            server.server_close()


def _handler(owner: Owner) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path != f"/strangle/feed/{owner.stream}/" or self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._answer(401, b"{}")
                return
            after = int(query["after"])
            owner.asked.append(after)
            eventually(lambda: owner.head > after, float(query["wait"]))
            self._answer(200, owner.cut(after, min(after + int(query["limit"]), owner.head)).to_json().encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


class Recorder:
    """A RowApplier that only notes the positions it was given."""

    def __init__(self) -> None:
        self.applied: list[int] = []

    def apply(
        self, conn: Connection, stream: str, relations: dict[int, RelationHead], rows: Sequence[RowRecord]
    ) -> int:
        """See messaging.inbox.RowApplier."""
        self.applied += [row.position for row in rows]
        return len(rows)


class Receiver:
    """A real consumer with a real inbox whose effects are recorded."""

    def __init__(self, owner: Owner, feed: HttpFeed, subscription: Subscription | None):
        self.owner = owner
        self.recorder = Recorder()
        self.consumer = Consumer(owner.stream, feed, self.recorder, using="orders", subscription=subscription)

    @property
    def position(self) -> int:
        """Where the stream was applied to."""
        return positions(django_connection("orders"), self.owner.stream)[0]

    def catch_up(self, within_seconds: float = 20.0) -> None:
        """Step until the end of the stream is applied, each record once and in order."""
        deadline = time.monotonic() + within_seconds
        while self.position < self.owner.head:
            assert time.monotonic() < deadline, f"applied {self.position} of {self.owner.head}"
            self.consumer.step(1.0)
        assert self.recorder.applied == list(range(1, self.owner.head + 1))


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield int(server.getsockname()[1])


def eventually(condition: Callable[[], bool], within_seconds: float) -> bool:
    """Await a condition that nothing announces; False when it does not come true in time."""
    deadline = time.monotonic() + within_seconds
    never = threading.Event()
    while not condition():
        if time.monotonic() >= deadline:
            return False
        never.wait(0.01)
    return True
