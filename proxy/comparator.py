"""The comparator: takes mirrored reads, answers at once, and compares both sides in its own time."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from migration_tools.routing.shadow.guard import SHADOW_HEADER
from migration_tools.routing.shadow.patterns import route_pattern
from migration_tools.routing.shadows import Tally
from proxy.asking import Read, Sides
from proxy.judging import Known, add, judge
from proxy.options import Address

HEALTH_PATH = "/livez"
TELL_SECONDS = 0.5
IDLE_SECONDS = 60.0
UNTOLD_MOST = 1000

logger = logging.getLogger(__name__)

Tallies = dict[tuple[str, str], Tally]


@dataclass(frozen=True, kw_only=True)
class ComparatorOptions:
    """Where it listens, how much it does at once, and how much may wait; what is beyond is dropped and counted."""

    listen: Address
    workers: int = 4
    waiting: int = 200
    timeout_seconds: float = 5.0
    reveal: bool = False


class Comparator:
    """Run until `stop()`.

    Args:
        learn: reads the table and the rules in force; on an exception the last ones are used.
        tell: told what was found since it was last told; on an exception it is told with the next.
    """

    def __init__(
        self,
        options: ComparatorOptions,
        upstreams: Mapping[str, tuple[Address, ...]],
        learn: Callable[[], Known],
        tell: Callable[[Mapping[tuple[str, str], Tally]], None],
    ) -> None:
        self.options = options
        self.stopping = threading.Event()
        self._sides = Sides(upstreams, timeout_seconds=options.timeout_seconds)
        self._learn, self._tell = learn, tell
        self._known = Known()
        self._waiting: queue.Queue[tuple[Read, str]] = queue.Queue(options.waiting)
        self._lock = threading.Lock()
        self._untold: Tallies = {}
        handler = type("Handler", (_Handler,), {"comparator": self})
        self._server = _Server((options.listen.host, options.listen.port), handler)

    @property
    def address(self) -> Address:
        host, port = self._server.server_address[:2]
        return Address(host=str(host), port=int(port))

    def run(self) -> None:
        """Serve, compare and tell, each in threads of its own; returns when it was stopped and has told the rest."""
        threads = [threading.Thread(target=self._work, name=f"worker-{n}") for n in range(self.options.workers)]
        threads.append(threading.Thread(target=self._server.serve_forever, args=(0.05,), name="mirror"))
        for thread in threads:
            thread.daemon = True
            thread.start()
        try:
            self._exchange()
            while not self.stopping.wait(TELL_SECONDS):
                self._exchange()
        finally:
            self.stop()
            self._server.shutdown()
            self._server.server_close()
            for thread in threads:
                thread.join(self.options.timeout_seconds)
            self._exchange()

    def stop(self) -> None:
        self.stopping.set()

    def knows(self, target: str) -> bool:
        """Whether some context of the table claims this path."""
        return self._known.context_of(target) is not None

    def take(self, read: Read) -> None:
        """Queue a mirrored read, or drop it; never waits."""
        context = self._known.context_of(read.target)
        if context is None:
            return
        try:
            self._waiting.put_nowait((read, context))
        except queue.Full:
            self._note(context, read, Tally(dropped=1))

    def _work(self) -> None:
        while not self.stopping.is_set():
            try:
                read, context = self._waiting.get(timeout=0.1)
            except queue.Empty:
                continue
            try:
                found = judge(read, context, self._known, self._sides, self.stopping, reveal=self.options.reveal)
            except Exception as error:
                # Whatever it is must not cost a worker; its message could hold a value, so it is not logged.
                logger.error("a shadow read of %r could not be compared: %s", context, type(error).__name__)
                found = Tally(skips={f"the comparator failed ({type(error).__name__})": 1})
            self._note(context, read, found)

    def _note(self, context: str, read: Read, found: Tally) -> None:
        key = (context, route_pattern(read.target))
        with self._lock:
            if key in self._untold or len(self._untold) < UNTOLD_MOST:
                add(self._untold.setdefault(key, Tally()), found)

    def _exchange(self) -> None:
        """Tell what was found and learn what is in force now."""
        with self._lock:
            telling, self._untold = self._untold, {}
        try:
            if telling:
                self._tell(telling)
        except Exception as error:
            logger.warning("shadow reads cannot be stored now: %s", type(error).__name__)
            with self._lock:
                for key, tally in telling.items():
                    add(self._untold.setdefault(key, Tally()), tally)
        try:
            self._known = self._learn()
        except Exception as error:
            logger.warning("table and rules cannot be read now: %s", type(error).__name__)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The proxy went away; there is nobody to answer, and a trace could hold a header."""


class _Handler(BaseHTTPRequestHandler):
    comparator: Comparator
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def _take(self) -> None:
        if self.headers.get(SHADOW_HEADER) != "1":
            return self._answer(200 if self.path == HEALTH_PATH else 404)
        body = self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers
        if body or "upgrade" in self.headers:
            self.close_connection = True
        else:
            self.comparator.take(Read(method=self.command, target=self.path, headers=tuple(self.headers.items())))
        self._answer(204)

    do_GET = do_HEAD = do_OPTIONS = _take

    def _answer(self, status: int) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """A line of each read would be a log of what people read."""
