"""A live proxy before a world: a real Envoy under its agent, sides that write by the fence, customers by HTTP."""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from migration_tools.testing.postgres import free_port
from tests.chaos.ledger import ORDERS, SHARED_LINES, SHOP, Dialect, Ledger
from tests.chaos.world import World

PATH = "/api/orders/"
CUSTOMERS = 2
MARKER = "x-strangler-fenced"


class Handler(BaseHTTPRequestHandler):
    """One side's application: a write is one transaction, and a refusal by the fence is marked for the proxy."""

    world: ClassVar[World]
    dialect: ClassVar[Dialect]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Write what the body says."""
        order = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        headers = {}
        try:
            self._write(order)
            status = 200
        except psycopg.Error as error:
            fenced = error.sqlstate == "40S01"
            status, headers = (503, {MARKER: "1"}) if fenced else (500, {})
        body = json.dumps({"side": self.dialect.side}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _write(self, order: dict[str, Any]) -> None:
        with self.world.connect(self.dialect.side, self.dialect.user) as conn, conn.transaction():
            if "line" in order:
                conn.execute(self.dialect.bump, order)
                return
            for statement in self.dialect.insert:
                conn.execute(statement, order)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Serves in a thread; connections that a killed proxy resets are nothing to print."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, *args: Any) -> None:
        """Say nothing."""


class Customer(threading.Thread):
    """Orders through the proxy, and notes in the ledger what was acknowledged and what may have happened."""

    def __init__(self, port: int, ledger: Ledger, seed: int, stop: threading.Event):
        super().__init__(name=f"customer {seed}", daemon=True)
        self.port, self.ledger, self.stop_asked = port, ledger, stop
        self.choose = random.Random(seed)
        self.number = 0

    def run(self) -> None:
        """Write until told to stop."""
        try:
            while not self.stop_asked.wait(0.02 * self.choose.random()):
                self.number += 1
                if self.choose.random() < 0.3:
                    self._bump(self.choose.randrange(1, SHARED_LINES + 1))
                else:
                    self._order()
        except BaseException as error:
            self.ledger.faults.append(f"{self.name} ended: {type(error).__name__}: {error}")

    def _order(self) -> None:
        key = uuid.UUID(int=self.choose.getrandbits(128), version=4)
        value = (f"{self.name} {self.number}", 1 + self.number % 9)
        self.ledger.possible[key] = {None, value}
        order = {"key": str(key), "user": 1 + key.int % 20, "note": value[0], "quantity": value[1]}
        if self._post(order):
            self.ledger.possible[key] = {value}
            self.ledger.acknowledged["order by the proxy"] += 1

    def _bump(self, line: int) -> None:
        if self._post({"line": line}):
            self.ledger.bumps[line] += 1
            self.ledger.acknowledged["bump by the proxy"] += 1
        else:
            self.ledger.unsure_bumps[line] += 1

    def _post(self, document: dict[str, Any]) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", PATH, body=json.dumps(document))
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Edge:
    """The proxy of one world, which is revived with its other processes."""

    def __init__(self, world: World, directory: Path, sides: dict[str, Server]):
        self.world, self.directory = world, directory
        self.port = free_port()
        argv = ["strangle_proxy", "run", "--listen", f"127.0.0.1:{self.port}", "--directory", str(directory)]
        addresses = {
            name: f"127.0.0.1:{sides[side].server_port}"
            for name, side in (("MONOLITH_ADDRESS", "shop"), ("ORDERS_ADDRESS", "orders"))
        }
        world.hire("proxy", argv, addresses)

    @contextmanager
    def customers(self, ledger: Ledger, seed: int) -> Iterator[None]:
        """Customers order through the proxy for the block."""
        stop = threading.Event()
        people = [Customer(self.port, ledger, seed * 100 + number, stop) for number in range(CUSTOMERS)]
        for each in people:
            each.start()
        try:
            yield
        finally:
            stop.set()
            for each in people:
                each.join(90)

    def kill_envoy(self) -> None:
        """Kill the Envoy that the agent started, if there is one now."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            os.kill(json.loads((self.directory / "envoy.pid").read_text())["pid"], signal.SIGKILL)


@contextmanager
def edge_of(world: World) -> Iterator[Edge]:
    """The proxy and both sides, for the block."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="sx"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        sides = {}
        for dialect in (SHOP, ORDERS):
            handler = type("Side", (Handler,), {"world": world, "dialect": dialect})
            sides[dialect.side] = stack.enter_context(Server(("127.0.0.1", 0), handler))
            serving = threading.Thread(target=sides[dialect.side].serve_forever, args=(0.05,), daemon=True)
            serving.start()
            stack.callback(serving.join)
            stack.callback(sides[dialect.side].shutdown)
        edge = Edge(world, directory, sides)
        stack.callback(edge.kill_envoy)
        stack.callback(world.dismiss, "proxy")
        yield edge
