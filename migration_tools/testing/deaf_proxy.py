"""A TCP proxy that goes deaf at a byte of its own choosing, or cuts what runs through it."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

CHUNK = 65_536
LOCAL = b"127.0.0.1"


class DeafProxy:
    """Forwards a port of 127.0.0.1; deaf, it goes on taking bytes and passes none of them on.

    Args:
        target: the port behind it.
        port: the port in front; 0 for any.
        advertised: the broker is Kafka and tells clients where it is: tell them this proxy's port instead.
    """

    def __init__(self, target: int, *, port: int = 0, advertised: bool = False):
        self.target = target
        self.swallowed = 0
        self._advertised = advertised
        self._lock = threading.Lock()
        self._left: dict[bool, int | None] = {True: None, False: None}
        self._open: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", port), backlog=100)
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def deafen(self, *, towards_broker: int | None = None, towards_client: int | None = None) -> None:
        """Swallow what comes, on each side after that many more bytes; None lets that side through."""
        with self._lock:
            self._left = {True: towards_broker, False: towards_client}

    def hear(self) -> None:
        """Forward again. Connections that lost bytes could not go on, so all of them are cut."""
        with self._lock:
            self._left = {True: None, False: None}
        self.cut()

    def cut(self) -> None:
        """Close every connection."""
        with self._lock:
            doomed, self._open = self._open, set()
        for end in doomed:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        """Take no more connections and close those there are."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            with self._lock:
                self._open |= {client, broker}
            for source, sink, towards_broker in ((client, broker, True), (broker, client, False)):
                threading.Thread(target=self._carry, args=(source, sink, towards_broker), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, towards_broker: bool) -> None:
        pieces = _frames(source) if self._advertised and not towards_broker else _chunks(source)
        try:
            for piece in pieces:
                told = self._told(piece) if not towards_broker else piece
                passed = self._passed(told, towards_broker)
                if passed:
                    sink.sendall(passed)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            with self._lock:
                self._open -= {source, sink}

    def _passed(self, piece: bytes, towards_broker: bool) -> bytes:
        with self._lock:
            left = self._left[towards_broker]
            if left is None:
                return piece
            self._left[towards_broker] = max(left - len(piece), 0)
            self.swallowed += max(len(piece) - left, 0)
            return piece[:left]

    def _told(self, piece: bytes) -> bytes:
        """Kafka's answers name its brokers as host and port; both have the same length in ours."""
        if not self._advertised:
            return piece
        return piece.replace(LOCAL + struct.pack(">i", self.target), LOCAL + struct.pack(">i", self.port))


def _chunks(source: socket.socket) -> Iterator[bytes]:
    while chunk := source.recv(CHUNK):
        yield chunk


def _frames(source: socket.socket) -> Iterator[bytes]:
    """Kafka's frames, whole: a length of four bytes and what it counts."""
    held = bytearray()
    for chunk in _chunks(source):
        held += chunk
        while len(held) >= 4 and len(held) >= (size := 4 + int.from_bytes(held[:4], "big")):
            yield bytes(held[:size])
            del held[:size]
