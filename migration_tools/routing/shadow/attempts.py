"""What the shadow request of this thread or coroutine tried to write."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Attempts:
    """What a shadow request tried to write, each name once."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def add(self, name: str) -> None:
        if name not in self.names:
            self.names.append(name)


_current: ContextVar[Attempts | None] = ContextVar("strangler_shadow", default=None)


def current() -> Attempts | None:
    """The attempts of the shadow request that this code runs in; None in any other."""
    return _current.get()


@contextmanager
def watching(attempts: Attempts) -> Iterator[None]:
    """Keep back mail and tasks for the length of the block, noting each attempt."""
    token = _current.set(attempts)
    try:
        yield
    finally:
        _current.reset(token)
