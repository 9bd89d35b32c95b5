"""Named sync points: where tests stage interleavings and kill processes; free when unused.

A point is armed in-process with `on(name, action)`, or from outside by the variable STRANGLE_POINTS, a comma-separated
list of `name=kill`, `name=stop` (SIGSTOP), `name=interrupt` (SIGINT), each also `@N` (at the N-th passage), or
`name=wait:/path` (until the file exists). STRANGLE_POINTS_SEEN names a file that gets a line for each passage: so the
table of crash points is measured, not guessed.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "interrupt": signal.SIGINT}

_actions: dict[str, Callable[[], None]] = {}
_passages: Counter[str] = Counter()
_known: set[str] = set()
_seen: list[Path] = []


def reached(name: str) -> None:
    """Mark that the running code is at `name`; does what is armed there, usually nothing."""
    _known.add(name)
    if _seen:
        _note(name, _seen[0])
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
    """Arm the points that the environment names; called once at import, and by a process that forks commands."""
    _seen[:] = [Path(path) for path in [os.environ.get(f"{variable}_SEEN", "")] if path]
    for item in filter(None, os.environ.get(variable, "").split(",")):
        name, _, what = item.partition("=")
        word, _, passage = what.partition("@")
        if word in SIGNALS:
            _actions[name] = _signaller(name, SIGNALS[word], int(passage or 1))
        elif what.startswith("wait:"):
            _actions[name] = _waiter(Path(what.removeprefix("wait:")))
        else:
            raise ValueError(f"{variable} has {item!r}; use name=kill, =stop, =interrupt, each also @N, or =wait:/path")


def _signaller(name: str, number: signal.Signals, passage: int) -> Callable[[], None]:
    def strike() -> None:
        _passages[name] += 1
        if _passages[name] == passage:
            os.kill(os.getpid(), number)

    return strike


def _waiter(path: Path) -> Callable[[], None]:
    def wait() -> None:
        pause = threading.Event()
        path.with_suffix(".reached").touch()
        while not path.exists():
            pause.wait(0.005)

    return wait


def _note(name: str, path: Path) -> None:
    # One short write to a file opened for appending: lines of several threads and processes stay whole.
    with path.open("a") as file:
        file.write(f"{name}\n")


arm_from_environment()
