"""A network that can fail: a TCP proxy that goes deaf (takes everything, delivers later), is slow or is cut."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Wire:
    """Forwards connections of its own port to another one of this machine."""

    def __init__(self, to: int):
        self.to = to
        self._server = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = int(self._server.getsockname()[1])
        self._hears = threading.Event()
        self._hears.set()
        self._hurries = threading.Event()
        self._hurries.set()
        self._late = 0.0
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def deafen(self) -> None:
        """Deliver nothing until `hear`; connections are still taken, and nobody is told."""
        self._hears.clear()

    def hear(self) -> None:
        """Deliver what was held back, and everything after it."""
        self._hears.set()

    def slow(self, seconds: float) -> None:
        """Deliver each piece so late, and the next one not before that, until `hurry`."""
        self._late = seconds
        self._hurries.clear()

    def hurry(self) -> None:
        """Deliver at once again."""
        self._hurries.set()

    def cut(self) -> None:
        """End every connection now; new ones are taken."""
        with self._lock:
            ends, self._ends = self._ends, set()
        for each in ends:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        self.hear()
        self.hurry()
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
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.to), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._ends |= {near, far}
            for source, sink in ((near, far), (far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                self._hears.wait()
                self._hurries.wait(self._late)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._ends.discard(source)
            source.close()
