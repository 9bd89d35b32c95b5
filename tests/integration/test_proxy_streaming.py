"""Long answers through the real Envoy: WebSockets, event streams and downloads live on through flips and takeovers."""

import base64
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from migration_tools.routing.table import with_reads, with_writes
from proxy.options import Address
from tests.integration.proxy_rig import Rig, await_until, rig

DOWNLOAD_BYTES = 64 << 20
BLOCK = os.urandom(1 << 20)


class Streamer:
    """A side that speaks plain sockets: echoes WebSocket frames, sends events, sends a large file."""

    def __init__(self, side: bytes) -> None:
        self.side = side
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address(host="127.0.0.1", port=self.listener.getsockname()[1])
        self.go = threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                conn, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn: socket.socket) -> None:
        with conn, suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                request += conn.recv(65_536)
            path = request.split()[1]
            if path.endswith(b"/socket"):
                self._echo(conn, request)
            elif path.endswith(b"/events"):
                self._events(conn)
            else:
                self._file(conn)

    def _echo(self, conn: socket.socket, request: bytes) -> None:
        key = next(
            line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        magic = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324
        conn.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + magic + b"\r\n\r\n"
        )
        while data := conn.recv(65_536):
            conn.sendall(self.side + b":" + data)

    def _events(self, conn: socket.socket) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(1_000):
            self.go.acquire()
            event = b"data: %b %d\n\n" % (self.side, number)
            conn.sendall(b"%x\r\n%b\r\n" % (len(event), event))

    def _file(self, conn: socket.socket) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % DOWNLOAD_BYTES)
        conn.sendall(BLOCK)
        self.go.acquire()
        for _ in range(DOWNLOAD_BYTES // len(BLOCK) - 1):
            conn.sendall(BLOCK)


@pytest.fixture
def streaming() -> Iterator[tuple[Rig, Streamer]]:
    """A rig whose new side streams; its reads and writes go there."""
    side = Streamer(b"new")
    with rig(takeover_seconds=30.0) as proxy:
        upstreams = {**proxy.options.upstreams, "orders": (side.address,)}
        object.__setattr__(proxy.agent.options, "upstreams", upstreams)
        proxy.publish(lambda table: with_writes(with_reads(table, "orders", 100), "orders", "new"))
        yield proxy, side
    side.close()


@contextmanager
def opened(proxy: Rig, path: bytes, *headers: bytes) -> Iterator[socket.socket]:
    listen = proxy.options.listen
    with socket.create_connection((listen.host, listen.port), timeout=20) as sock:
        sock.sendall(b"\r\n".join([b"GET /api/orders" + path + b" HTTP/1.1", b"Host: shop", *headers, b"", b""]))
        yield sock


def upheavals(proxy: Rig) -> Iterator[None]:
    """What may happen to the routes during a long answer, one after the other."""
    proxy.publish(lambda table: with_reads(table, "orders", 0))
    yield
    proxy.publish(lambda table: with_writes(table, "orders", "hold", now="1"))
    yield
    proxy.publish(lambda table: with_writes(table, "orders", "old"))
    yield
    before = proxy.agent.envoy.pid
    proxy.agent.replace_envoy()
    await_until(lambda: proxy.agent.envoy.pid != before)
    yield


def until(sock: socket.socket, wanted: bytes) -> bytes:
    found = b""
    while wanted not in found:
        block = sock.recv(65_536)
        assert block, f"the connection ended after {found[-200:]!r}"
        found += block
    return found


def test_a_websocket_lives_on_through_flips_and_a_takeover(streaming: tuple[Rig, Streamer]) -> None:
    proxy, _ = streaming
    key = b"Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16))
    with opened(
        proxy, b"/socket", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", key
    ) as sock:
        assert b"101 Switching Protocols" in until(sock, b"\r\n\r\n")
        for number, _ in enumerate(upheavals(proxy)):
            sock.sendall(b"frame %d." % number)
            assert until(sock, b"frame %d." % number).startswith(b"new:")


def test_an_event_stream_lives_on_and_arrives_event_by_event(streaming: tuple[Rig, Streamer]) -> None:
    proxy, side = streaming
    with opened(proxy, b"/events") as sock:
        until(sock, b"\r\n\r\n")
        for number, _ in enumerate(upheavals(proxy)):
            side.go.release()
            until(sock, b"data: new %d\n\n" % number)


def test_a_large_download_arrives_whole(streaming: tuple[Rig, Streamer]) -> None:
    proxy, side = streaming
    with opened(proxy, b"/file", b"Connection: close") as sock:
        digest = hashlib.sha256()
        head, _, first = until(sock, b"\r\n\r\n").partition(b"\r\n\r\n")
        assert b"200 OK" in head
        for _ in upheavals(proxy):
            pass
        side.go.release()
        digest.update(first)
        size = len(first)
        while block := sock.recv(1 << 20):
            digest.update(block)
            size += len(block)
    assert size == DOWNLOAD_BYTES
    assert digest.digest() == hashlib.sha256(BLOCK * (DOWNLOAD_BYTES // len(BLOCK))).digest()
