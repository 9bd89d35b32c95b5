"""Waiting for a condition: nothing of Django, so that what is started by hand can wait too."""

import time
from collections.abc import Callable

SECONDS = 20.0


def until(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Return when the condition holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.003)
