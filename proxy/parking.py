"""Where held writes wait: a socket of the agent that answers a context's checks only once its hold is over.

Note [parking]. Envoy holds a write by trying it again and again at its own fence, which answers "not now". Hundreds of
writes that try ten times a second cost more than a core, and what tries when the hold ends is on average half a pause
late. So the fence asks here first (`ext_authz`, headers only), and the answer comes when the agent has seen Envoy's
endpoints change. The answer is no permission: whatever it is, the fence then says "not now" as before. Nobody here, or
an agent that was killed, is therefore no failure but the old way: tries with pauses.
"""

import asyncio
import contextlib
import logging
import os
import resource
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

# An answer is due by then, whatever becomes of the hold.
PARK_SECONDS = 5.0
# More than these are told to try again; each is a connection of this process.
PARKED_MAXIMUM = 4_096
# The oldest first, and so many at a time: all at once would be a crowd at the application's door.
CALLED_AT_ONCE, CALL_PAUSE_SECONDS = 16, 0.004
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

logger = logging.getLogger(__name__)

Waiting = deque["asyncio.Future[None]"]


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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: dict[str, Waiting] = {}
        self._calling: set[asyncio.Task[None]] = set()
        self._room = PARKED_MAXIMUM
        self._parked = 0

    @property
    def parked(self) -> int:
        """How many wait now."""
        return self._parked

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Listen during the block."""
        ready = threading.Event()
        self._room = min(PARKED_MAXIMUM, _files() // 2)
        self._loop = loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._run, args=(loop, ready), name="parking", daemon=True)
        thread.start()
        ready.wait()
        try:
            yield
        finally:
            if self._loop is not None:
                self._loop = None
                loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def hold(self, contexts: Iterable[str]) -> None:
        """From now on writes of these contexts wait too; call it before Envoy is sent here."""
        self._tell(self._hold, frozenset(contexts))

    def keep_only(self, contexts: Iterable[str]) -> None:
        """Call those of all other contexts; do it when Envoy sends them elsewhere already."""
        self._tell(self._keep_only, frozenset(contexts))

    def _tell(self, what: Callable[[frozenset[str]], None], contexts: frozenset[str]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(what, contexts)

    def _hold(self, contexts: frozenset[str]) -> None:
        for name in contexts:
            self._held.setdefault(name, deque())

    def _keep_only(self, contexts: frozenset[str]) -> None:
        for name in self._held.keys() - contexts:
            task = asyncio.get_running_loop().create_task(_call(self._held.pop(name)))
            self._calling.add(task)
            task.add_done_callback(self._calling.discard)

    def _run(self, loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        try:
            self.path.unlink(missing_ok=True)
            server = loop.run_until_complete(
                asyncio.start_unix_server(self._serve, self.path, backlog=PARKED_MAXIMUM, limit=1 << 18)
            )
            self.path.chmod(0o600)
            if self._ids is not None:
                os.chown(self.path, *self._ids)
        except OSError as error:
            logger.warning("held writes cannot wait at %s and will try by themselves: %s", self.path, error)
            self._loop = None
            loop.close()
            return
        finally:
            ready.set()
        loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()
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
        waiting = self._held.get(context)
        if waiting is None or self._parked >= self._room:
            return
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(called)
        self._parked += 1
        try:
            async with asyncio.timeout(PARK_SECONDS):
                await called
        except TimeoutError:
            pass
        finally:
            self._parked -= 1


async def _call(waiting: Waiting) -> None:
    while waiting:
        for _ in range(min(CALLED_AT_ONCE, len(waiting))):
            called = waiting.popleft()
            if not called.done():
                called.set_result(None)
        await asyncio.sleep(CALL_PAUSE_SECONDS)


def _files() -> int:
    """How many files this process may have open, after it has asked for all it may ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else 2 * PARKED_MAXIMUM
