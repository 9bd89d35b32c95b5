"""How work that goes on for long is told to end, and tells how far it is; apart, since most of it runs no phases."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from migration_tools.errors import Interrupted
from migration_tools.kernel.watch import Watch
from migration_tools.management.progress import progress


@contextmanager
def heed_signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`, so that a checkpoint is saved; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(stop: threading.Event, *, quiet: bool) -> Watch:
    """What long work outside of phases is given: the operator's signals, and a bar or lines unless `quiet`."""

    def heed(done: str) -> None:
        if stop.is_set():
            raise Interrupted(done)

    def shown(title: str, total: int | None = None, done: int = 0) -> Any:
        return progress(title, total, done=done, json_mode=quiet)

    return Watch(heed=heed, progress=shown)
