"""Where held writes wait: a socket of the agent that answers a context's checks only once its hold is over.

Note [parking]. Envoy holds a write by trying it again and again at its own fence, which answers "not now". Hundreds of
writes that try ten times a second cost more than a core, and what tries when the hold ends is on average half a pause
late. So the fence asks here first (`ext_authz`, headers only), and the answer comes when the agent has seen Envoy's
endpoints change. The answer is no permission: whatever it is, the fence then says "not now" as before. Nobody here, or
an agent that was killed, is therefore no failure but the old way: tries with pauses.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

# An answer is due by then, whatever becomes of the hold.
PARK_SECONDS = 5.0
# More than these are told to try again; each is a connection of this process.
PARKED_MAXIMUM = 4_096
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Parking:
    """The contexts whose writes wait, and the socket on which they do; its own thread, safe to call from any.

    Args:
        path: of the Unix socket.
        headers: names of the request headers that tell the context.
        ids: user and group that Envoy runs as, where that is not our own.
    """

    def __init__(self, path: Path, headers: Iterable[str], ids: tuple[int, int] | None = None) -> None:
        self.path = path
        self._headers = frozenset(name.lower() for name in headers)
        self._ids = ids
        self._loop = asyncio.new_event_loop()
        self._over: dict[str, asyncio.Event] = {}
        self._parked = 0

    @property
    def parked(self) -> int:
        """How many wait now."""
        return self._parked

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Listen during the block."""
        ready = threading.Event()
        thread = threading.Thread(target=self._run, args=(ready,), name="parking", daemon=True)
        thread.start()
        ready.wait()
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()

    def hold(self, contexts: Iterable[str]) -> None:
        """From now on writes of these contexts wait too; call it before Envoy is sent here."""
        self._call(self._hold, frozenset(contexts))

    def keep_only(self, contexts: Iterable[str]) -> None:
        """Call those of all other contexts; do it when Envoy sends them elsewhere already."""
        self._call(self._keep_only, frozenset(contexts))

    def _call(self, what: "object", contexts: frozenset[str]) -> None:
        self._loop.call_soon_threadsafe(what, contexts)  # type: ignore[arg-type]

    def _hold(self, contexts: frozenset[str]) -> None:
        for name in contexts:
            self._over.setdefault(name, asyncio.Event())

    def _keep_only(self, contexts: frozenset[str]) -> None:
        for name in self._over.keys() - contexts:
            self._over.pop(name).set()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self.path.unlink(missing_ok=True)
        server = self._loop.run_until_complete(
            asyncio.start_unix_server(self._serve, self.path, backlog=PARKED_MAXIMUM, limit=1 << 18)
        )
        self.path.chmod(0o600)
        if self._ids is not None:
            os.chown(self.path, *self._ids)
        ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection's checks, one after the other; a check has no body."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._wait(self._context(head))
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()

    def _context(self, head: bytes) -> str:
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        found = (value.strip().decode("latin-1") for name, _, value in lines if name.decode("latin-1") in self._headers)
        return next(found, "")

    async def _wait(self, context: str) -> None:
        over = self._over.get(context)
        if over is None or self._parked >= PARKED_MAXIMUM:
            return
        self._parked += 1
        try:
            async with asyncio.timeout(PARK_SECONDS):
                await over.wait()
        except TimeoutError:
            pass
        finally:
            self._parked -= 1
