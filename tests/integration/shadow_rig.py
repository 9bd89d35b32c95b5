"""Two sides that answer what a test tells them, and a comparator between them."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from migration_tools.routing.shadow.rules import Rule
from migration_tools.routing.shadows import Tally
from migration_tools.routing.table import RoutingTable, ensure_context, with_shadow
from proxy.asking import Read
from proxy.comparator import Comparator, ComparatorOptions
from proxy.judging import Known, add
from proxy.options import Address
from tests.integration.proxy_rig import await_until

TABLE = with_shadow(ensure_context(RoutingTable(version=1), "orders", ["/api/orders/"], "orders"), "orders", 100)
Told = dict[tuple[str, str], Tally]


class Side:
    """A side: `say` makes its answer of how often it was asked; `guarded` is whether it says so."""

    def __init__(self) -> None:
        self.say: Callable[[int], Any] = lambda asked: {"total": "10.00"}
        self.status = 200
        self.guarded = True
        self.wrote = ""
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[dict[str, str]] = []
        self.probes = 0
        handler = type("Handler", (_Handler,), {"side": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.address = Address(host="127.0.0.1", port=self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    side: Side

    def _answer(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        marks = {"x-strangler-shadow": "kept"} if self.side.guarded else {}
        if headers.get("x-strangler-shadow") == "probe":
            self.side.probes += 1
            assert "cookie" not in headers
            return self._send(204, b"", marks)
        self.side.asked.append({**headers, ":path": self.path, ":method": self.command})
        self.side.gate.wait()
        if self.side.wrote:
            marks["x-strangler-wrote"] = self.side.wrote
        body = json.dumps(self.side.say(len(self.side.asked))).encode()
        self._send(self.side.status, body, marks)

    do_GET = do_HEAD = do_OPTIONS = do_POST = _answer

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "content-type": "application/json", "content-length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@dataclass
class Bench:
    """A comparator over two sides, what it knows, and the sum of what it told."""

    old: Side
    new: Side
    comparator: Comparator
    rules: list[Rule] = field(default_factory=list)
    table: RoutingTable = TABLE
    told: Told = field(default_factory=dict)
    outage: bool = False

    def learn(self) -> Known:
        if self.outage:
            raise ConnectionError("the database is down")
        return Known(table=self.table, rules={"orders": tuple(self.rules)})

    def tell(self, tallies: Mapping[tuple[str, str], Tally]) -> None:
        if self.outage:
            raise ConnectionError("the database is down")
        for key, tally in tallies.items():
            add(self.told.setdefault(key, Tally()), tally)

    def read(self, target: str = "/api/orders/", count: int = 1, **headers: str) -> None:
        named = tuple((key.replace("_", "-"), value) for key, value in {"host": "shop.test", **headers}.items())
        for _ in range(count):
            self.comparator.take(Read(method="GET", target=target, headers=named))

    def total(self) -> Tally:
        total = Tally()
        for tally in self.told.values():
            add(total, tally)
        return total

    def settled(self, count: int) -> Tally:
        """Wait until so many reads have come to an end, and sum them up."""

        def ended() -> bool:
            found = self.total()
            return found.compared + found.dropped + sum(found.skips.values()) >= count

        await_until(ended, 20, f"{count} reads")
        return self.total()


@contextmanager
def bench(**options: Any) -> Iterator[Bench]:
    """A running bench."""
    old, new = Side(), Side()
    wanted = replace(ComparatorOptions(listen=Address(host="127.0.0.1", port=0)), **options)
    upstreams = {"monolith": (old.address,), "orders": (new.address,)}
    made: Bench
    comparator = Comparator(wanted, upstreams, lambda: made.learn(), lambda told: made.tell(told))
    made = Bench(old=old, new=new, comparator=comparator)
    thread = threading.Thread(target=comparator.run, daemon=True)
    thread.start()
    await_until(lambda: comparator.knows("/api/orders/"), what="the table is known")
    try:
        yield made
    finally:
        old.gate.set()
        new.gate.set()
        comparator.stop()
        thread.join(20)
        assert not thread.is_alive()
        old.close()
        new.close()
