"""One event loop a process, in a thread of its own: connections are shared by all requests, sync and async alike."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def submit(coroutine: Coroutine[Any, Any, Result]) -> "Future[Result]":
    """Run a coroutine on the process's loop; `.result()` in a sync view, `asyncio.wrap_future` in an async one."""
    return asyncio.run_coroutine_threadsafe(coroutine, running())


def running() -> asyncio.AbstractEventLoop:
    """The loop, started when first asked for: never before a server has forked."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="strangle-composition", daemon=True).start()
        return _loop


def _forget() -> None:
    """A forked child has no thread, and its parent's connections are not its own."""
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
