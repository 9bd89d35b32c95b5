"""Long answers through the real Envoy: WebSockets, event streams and downloads live on through flips and takeovers."""

import base64
import hashlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from migration_tools.routing.table import ensure_context, with_context, with_drain, with_reads, with_writes
from proxy.options import Address
from tests.integration.proxy_rig import Rig, await_until, rig

DOWNLOAD_BYTES = 64 << 20
BLOCK = os.urandom(1 << 20)


# A stream that has just been cut takes up to two before it notices.
ENOUGH = 8


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
                block = conn.recv(65_536)
                if not block:
                    return  # an Envoy that was late to see itself connected tries again on another one
                request += block
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
            conn.sendall(self.side + b":" + self.answer(data))

    def answer(self, frame: bytes) -> bytes:
        """What a frame is answered by."""
        return frame

    def _events(self, conn: socket.socket) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(1_000):
            self.go.acquire()
            if select.select([conn], [], [], 0)[0]:
                # This one was cut or given up: the word was for another.
                self.go.release()
                return
            event = b"data: %b %d\n\n" % (self.side, number)
            conn.sendall(b"%x\r\n%b\r\n" % (len(event), event))

    def _file(self, conn: socket.socket) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % DOWNLOAD_BYTES)
        conn.sendall(BLOCK)
        self.go.acquire()
        for _ in range(DOWNLOAD_BYTES // len(BLOCK) - 1):
            conn.sendall(BLOCK)


def upgrade(path: bytes) -> bytes:
    """The request for a WebSocket."""
    key = base64.b64encode(os.urandom(16))
    headers = (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + key,
    )
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: shop", *headers, b"", b""])


@contextmanager
def upgraded(proxy: Rig, path: bytes = b"/api/orders/socket") -> Iterator[socket.socket]:
    """A WebSocket, asked for and not yet answered."""
    listen = proxy.options.listen
    with socket.create_connection((listen.host, listen.port), timeout=20) as sock:
        sock.sendall(upgrade(path))
        yield sock


def said_by(sock: socket.socket, frame: bytes) -> bytes:
    """Which side echoes a frame."""
    sock.sendall(frame + b".")
    return until(sock, frame + b".").partition(b":")[0]


def ended(sock: socket.socket) -> bool:
    """Whether the other end closes, after whatever it still sends."""
    try:
        while sock.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    return True


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
        sock.sendall(
            b"\r\n".join(
                [
                    b"GET /api/orders" + path + b" HTTP/1.1",
                    b"Host: shop",
                    *headers,
                    b"",
                    b"",
                ]
            )
        )
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
    with upgraded(proxy) as sock:
        assert b"101 Switching Protocols" in until(sock, b"\r\n\r\n")
        for number, _ in enumerate(upheavals(proxy)):
            assert said_by(sock, b"frame %d" % number) == b"new"


def test_an_event_stream_lives_on_and_arrives_event_by_event(streaming: tuple[Rig, Streamer]) -> None:
    proxy, side = streaming
    with opened(proxy, b"/events", b"Accept: text/event-stream") as sock:
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


def test_a_drain_ends_the_streams_of_one_side_of_one_context_and_nobody_elses(streaming: tuple[Rig, Streamer]) -> None:
    proxy, side = streaming
    proxy.publish(lambda table: ensure_context(table, "billing", ["/billing"], "orders"))
    proxy.publish(lambda table: with_writes(with_reads(table, "billing", 100), "billing", "new"))
    with (
        upgraded(proxy) as ours,
        opened(proxy, b"/events", b"Accept: text/event-stream") as events,
        opened(proxy, b"/file", b"Connection: close") as download,
        upgraded(proxy, b"/billing/socket") as theirs,
    ):
        for sock in (ours, events, download, theirs):
            until(sock, b"\r\n\r\n")
        await_until(lambda: proxy.reports[-1].streams == {"orders": {"new": 2}, "billing": {"new": 1}})
        proxy.publish(lambda table: with_drain(table, "orders", "old"))
        assert said_by(ours, b"the other side was drained") == b"new"
        proxy.publish(lambda table: with_drain(table, "orders", "new"))
        assert ended(ours)
        assert ended(events)
        assert said_by(theirs, b"still here") == b"new"
        side.go.release(ENOUGH)
        size = 0
        while block := download.recv(1 << 20):
            size += len(block)
        assert size > DOWNLOAD_BYTES - (2 << 20), "a download is no stream"
        await_until(lambda: proxy.reports[-1].streams == {"billing": {"new": 1}})
        with upgraded(proxy) as again:
            until(again, b"\r\n\r\n")
            assert said_by(again, b"back") == b"new"


def test_a_socket_that_comes_back_while_writes_are_held_waits_and_lands_on_the_new_owner() -> None:
    old, new = Streamer(b"old"), Streamer(b"new")
    with rig() as proxy:
        upstreams = {"monolith": (old.address,), "orders": (new.address,)}
        object.__setattr__(proxy.agent.options, "upstreams", upstreams)
        # All reads are on the new side before a cutover; a socket may write and is the owner's all the same.
        proxy.publish(lambda table: with_reads(table, "orders", 100))
        with upgraded(proxy) as before:
            until(before, b"\r\n\r\n")
            assert said_by(before, b"who") == b"old"
            proxy.publish(lambda table: with_writes(table, "orders", "hold", now="1"))
            assert said_by(before, b"an open socket is not held") == b"old"
            proxy.publish(lambda table: with_drain(table, "orders", "old"))
            assert ended(before)
        with upgraded(proxy) as after:
            retries = "cluster.orders_socket.upstream_rq_retry"
            await_until(lambda: proxy.agent.envoy.admin.stats("upstream_rq_retry$").get(retries))
            proxy.publish(lambda table: with_writes(table, "orders", "new"))
            until(after, b"\r\n\r\n")
            assert said_by(after, b"who") == b"new"
    old.close()
    new.close()


def test_an_event_stream_outlives_the_time_limit_of_reads(streaming: tuple[Rig, Streamer]) -> None:
    proxy, side = streaming
    hurried = replace(proxy.table.contexts["orders"], read_timeout_seconds=0.2)
    proxy.publish(lambda table: with_context(table, "orders", hurried))
    with (
        opened(proxy, b"/events", b"Accept: text/event-stream") as stream,
        opened(proxy, b"/events") as not_asked_for_as_such,
    ):
        until(stream, b"\r\n\r\n")
        assert ended(not_asked_for_as_such), "shown to be cut otherwise"
        side.go.release(ENOUGH)
        until(stream, b"data: new 0\n\n")
