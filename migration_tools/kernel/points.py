"""Named sync points: where tests stage interleavings and kill processes; free when unused.

A point is armed in-process with `on(name, action)`, or from outside by the variable STRANGLE_POINTS, a comma-separated
list of `name=kill`, `name=kill@N` (at the N-th passage) or `name=wait:/path` (until the file exists).
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_actions: dict[str, Callable[[], None]] = {}
_passages: Counter[str] = Counter()
_known: set[str] = set()


def reached(name: str) -> None:
    """Mark that the running code is at `name`; does what is armed there, usually nothing."""
    _known.add(name)
    if not _actions:
        return
    action = _actions.get(name)
    if action is not None:
        action()


@contextmanager
def on(name: str, action: Callable[[], None]) -> Iterator[None]:
    """Arm `name` with `action` in this process for the block."""
    _actions[name] = action
    try:
        yield
    finally:
        _actions.pop(name, None)


def arm_from_environment(variable: str = "STRANGLE_POINTS") -> None:
    """Arm the points that the environment names; called once at import."""
    for item in filter(None, os.environ.get(variable, "").split(",")):
        name, _, what = item.partition("=")
        if what.startswith("kill"):
            _actions[name] = _killer(name, int(what.partition("@")[2] or 1))
        elif what.startswith("wait:"):
            _actions[name] = _waiter(Path(what.removeprefix("wait:")))
        else:
            raise ValueError(f"{variable} has {item!r}; use name=kill, name=kill@N or name=wait:/path")


def _killer(name: str, passage: int) -> Callable[[], None]:
    def kill() -> None:
        _passages[name] += 1
        if _passages[name] == passage:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def _waiter(path: Path) -> Callable[[], None]:
    def wait() -> None:
        pause = threading.Event()
        path.with_suffix(".reached").touch()
        while not path.exists():
            pause.wait(0.005)

    return wait


arm_from_environment()
