"""Batches of lines from a file or a pipe: full ones, and what is there when a pipe pauses; ends when it is told to."""

import os
import select
import threading
from collections.abc import Iterator

from migration_tools.messaging.foreign import UnusableChange

BLOCK = 1 << 16
PAUSE_SECONDS = 0.2


class LineBatches:
    """The lines of a file descriptor that are not blank; `ended` says that all of them were given out.

    When `stop` is set, what was read from the descriptor is still given out: nobody could read it there again.
    """

    def __init__(self, descriptor: int, rows: int, stop: threading.Event):
        self.ended = False
        self._descriptor, self._rows, self._stop = descriptor, rows, stop

    def __iter__(self) -> Iterator[list[str]]:
        lines: list[str] = []
        rest = b""
        while not self._stop.is_set():
            if not select.select([self._descriptor], [], [], PAUSE_SECONDS)[0]:
                if lines:
                    yield lines
                    lines = []
                continue
            block = os.read(self._descriptor, BLOCK)
            *whole, rest = (rest + block).split(b"\n") if block else [rest, b""]
            lines += [_text(line) for line in whole if line.strip()]
            while len(lines) >= self._rows:
                yield lines[: self._rows]
                lines = lines[self._rows :]
            if not block:
                self.ended = True
                break
        if lines:
            yield lines


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UnusableChange("a line is not UTF-8; the converters must be JsonConverter") from error
