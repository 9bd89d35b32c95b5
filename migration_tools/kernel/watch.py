"""How long work tells how far it is, and where it may be stopped, without knowing who watches."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, TypeVar

#: Work of many small parts tells of them by so many at a time.
TOLD_AT_ONCE = 1_000

Part = TypeVar("Part")


class ProgressBar(Protocol):
    """What long work tells how far it is."""

    def advance(self, amount: int) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """Nobody watches."""

    def advance(self, amount: int) -> None:
        """Nobody watches."""

    def note(self, text: str) -> None:
        """Nobody watches."""


#: Takes a title, a total if it is known, and how much of it an earlier run did.
ShowProgress = Callable[..., AbstractContextManager[ProgressBar]]


def silently(title: str, total: int | None = None, done: int = 0) -> AbstractContextManager[ProgressBar]:
    """Show nothing."""
    return nullcontext(Silent())


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who watches: `heed` is called where the work may stop, and raises its sentence if it is to."""

    heed: Callable[[str], None] = lambda _: None
    progress: ShowProgress = silently


UNWATCHED = Watch()


def told(parts: Iterable[Part], passed: Callable[[int], None]) -> Iterator[Part]:
    """The parts, with `passed` called every thousand of them and at their end with how many went by since."""
    count = 0
    for part in parts:
        yield part
        count += 1
        if count == TOLD_AT_ONCE:
            passed(count)
            count = 0
    passed(count)
