"""Read an answer whose lines are batches while the consumer is at work, so that what waits is taken together."""

import contextlib
import queue
import threading
from collections.abc import Iterator

import httpx2

from migration_tools.messaging.batch import Batch, joined

# So many lines are read ahead; then the owner waits, as if nobody read.
LINES_AHEAD = 16
LOOK_SECONDS = 0.1


class Following:
    """The batches of one open answer, read by a thread of its own until the answer ends or is left.

    Note [taken together]. While a batch is applied, the next ones come. Applied one by one, each costs a transaction;
    where ticks are faster than those, the line of waiting batches only grows, and with it the time from commit to
    applied. So what has come is applied as one batch: the slower the consumer, the larger its batches.
    """

    def __init__(self, answer: httpx2.Response):
        self._answer = answer
        self._lines: queue.Queue[bytes | httpx2.HTTPError | None] = queue.Queue(LINES_AHEAD)
        self._left = threading.Event()
        self._after: Batch | None = None
        self._ended = False
        self._failure: httpx2.HTTPError | None = None
        threading.Thread(target=self._read, name="strangle feed", daemon=True).start()

    def take(self, limit: int) -> Batch | None:
        """The next batch and those behind it that have come, up to about `limit` records; None at the answer's end.

        Raises:
            httpx2.HTTPError: the answer broke off; what came before was given.
            ValueError, KeyError, TypeError, IndexError: a line is no batch.
        """
        first, self._after = self._after or self._next(wait=True), None
        if first is None:
            return None
        run = [first]
        while sum(batch.last - batch.first for batch in run) < limit:
            behind = self._next(wait=False)
            if behind is None:
                break
            if not run[-1].leads_to(behind) or behind.last - first.first > limit:
                self._after = behind
                break
            run.append(behind)
        return joined(run)

    def leave(self) -> None:
        """Read no more; the thread ends with the answer's next line."""
        self._left.set()

    def _next(self, *, wait: bool) -> Batch | None:
        """The next line's batch; None at the end or, without `wait`, where none has come yet."""
        if not self._ended:
            try:
                line = self._lines.get(block=wait)
            except queue.Empty:
                return None
            if isinstance(line, bytes):
                return Batch.from_json(line)
            self._ended, self._failure = True, line
        if wait and self._failure is not None:
            raise self._failure
        return None

    def _read(self) -> None:
        end: httpx2.HTTPError | None = None
        try:
            for line in _whole_lines(self._answer):
                if not self._put(line):
                    break
        except httpx2.HTTPError as error:
            end = error
        finally:
            with contextlib.suppress(httpx2.HTTPError):
                self._answer.close()
            self._put(end)

    def _put(self, line: bytes | httpx2.HTTPError | None) -> bool:
        """Hand a line over; False when nobody wants it any more."""
        while not self._left.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put(line, timeout=LOOK_SECONDS)
                return True
        return False


def _whole_lines(answer: httpx2.Response) -> Iterator[bytes]:
    """Lines as they come; what is left at a broken end is none."""
    rest = b""
    for chunk in answer.iter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
