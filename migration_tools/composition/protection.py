"""A breaker and a bulkhead for one source: stop asking who does not answer, never wait with everybody for one.

Both are plain state of the one event loop that calls are made on (see loop.py), so they need no lock, and the breaker
takes the time as an argument, so that every schedule of answers can be tried.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

from migration_tools.composition.problems import SourceError


class Circuit(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"  # calls pass
    OPEN = "open"  # calls are refused until the pause is over
    TRYING = "trying"  # one call is on its way to see whether the source is back


@dataclass(kw_only=True)
class Breaker:
    """Opens after `failures` in a row, lets one call try after `open_seconds`, closes when that one succeeds."""

    failures: int = 5
    open_seconds: float = 2.0
    state: Circuit = Circuit.CLOSED
    _row: int = 0
    _opened: float = field(default=0.0)

    def admit(self, now: float) -> bool:
        """Whether a call may be made now; the one that is let through after the pause decides for all."""
        if self.state is Circuit.CLOSED:
            return True
        if self.state is Circuit.OPEN and now - self._opened >= self.open_seconds:
            self.state = Circuit.TRYING
            return True
        return False

    def succeeded(self) -> None:
        """The source answered, be it with a refusal of its own."""
        self._row = 0
        self.state = Circuit.CLOSED

    def failed(self, now: float) -> None:
        """The source did not answer, or said that it cannot."""
        self._row += 1
        if self.state is Circuit.TRYING or self._row >= self.failures:
            self.state = Circuit.OPEN
            self._opened = now

    def abandoned(self, now: float) -> None:
        """The call was given up by us, which says nothing of the source; a try that was, is to be made anew."""
        if self.state is Circuit.TRYING:
            self.state = Circuit.OPEN
            self._opened = now - self.open_seconds


@dataclass(kw_only=True)
class Bulkhead:
    """At most `places` calls to a source at once; one more is refused: a queue would pass the slowness on."""

    places: int
    taken: int = 0

    @contextmanager
    def place(self, source: str) -> Iterator[None]:
        """Hold a place for the block.

        Raises:
            SourceError: all are taken.
        """
        if self.taken >= self.places:
            raise SourceError(
                source, f"has {self.places} calls under way already", status=HTTPStatus.SERVICE_UNAVAILABLE
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
