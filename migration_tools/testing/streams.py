"""A stream whose owner needs no database: records in memory, a feed on HTTP, and a real consumer that takes notes."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from migration_tools.messaging.batch import Batch, RelationHead, RowRecord
from migration_tools.messaging.consumer import Consumer, Subscription
from migration_tools.messaging.inbox import positions
from migration_tools.messaging.transports.feed import HttpFeed
from migration_tools.stores.postgres import Connection, django_connection

TOKEN = "transport-tests"  # noqa: S105  (a server of this process)
RELATION = RelationHead(table="things", key=("id",), columns=("id", "at"), rank=0, owned=False, patch=False)
KEYS = 7


class Owner:
    """The side that owns a stream: a list of records of a few keys, and an HTTP feed that serves any range of it."""

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
            RowRecord(
                position=p,
                kind="r",
                relation=1,
                key=(str(p % KEYS),),
                values=(str(p % KEYS), str(p)),
                occurred=time.time(),
            )
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
        # Else the answer's body waits for the acknowledgement of its head, 40 ms.
        disable_nagle_algorithm = True

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
    """A RowApplier that only notes the positions it was given, for each key too."""

    def __init__(self) -> None:
        self.applied: list[int] = []
        self.by_key: dict[tuple[str, ...], list[int]] = defaultdict(list)

    def apply(
        self, conn: Connection, stream: str, relations: dict[int, RelationHead], rows: Sequence[RowRecord]
    ) -> int:
        """See messaging.inbox.RowApplier."""
        for row in rows:
            self.applied.append(row.position)
            self.by_key[row.key].append(row.position)
        return len(rows)


class Receiver:
    """A real consumer with a real inbox on the Django database `using`, whose effects are recorded."""

    def __init__(self, owner: Owner, feed: HttpFeed, subscription: Subscription | None, *, using: str):
        self.owner = owner
        self.using = using
        self.recorder = Recorder()
        self.consumer = Consumer(owner.stream, feed, self.recorder, using=using, subscription=subscription)

    @property
    def position(self) -> int:
        """Where the stream was applied to."""
        return positions(django_connection(self.using), self.owner.stream)[0]

    def catch_up(self, within_seconds: float = 20.0) -> None:
        """Step until the end of the stream is applied, each record once and in order."""
        deadline = time.monotonic() + within_seconds
        while self.position < self.owner.head:
            assert time.monotonic() < deadline, f"applied {self.position} of {self.owner.head}"
            self.consumer.step(1.0)
        self.holds_all()

    def holds_all(self) -> None:
        """Each record was applied once, in the order of its key and of the whole stream."""
        assert self.recorder.applied == list(range(1, self.owner.head + 1))
        for key, found in self.recorder.by_key.items():
            assert found == sorted(set(found)), f"key {key} was applied as {found}"


def eventually(condition: Callable[[], bool], within_seconds: float) -> bool:
    """Await a condition that nothing announces; False when it does not come true in time."""
    deadline = time.monotonic() + within_seconds
    never = threading.Event()
    while not condition():
        if time.monotonic() >= deadline:
            return False
        never.wait(0.01)
    return True
