"""What is left of a request: its deadline and how deep in a chain of calls it stands, handed on by two headers.

Note [deadlines travel as what is left]. A point in time would need clocks that agree; the milliseconds that are left
need none. Each hop takes the smaller of what it was given and what it allows itself, and sends on what then remains,
so a chain of any length ends when the first caller stops waiting.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from migration_tools.conf import settings
from migration_tools.errors import CompositionError

DEADLINE_HEADER = "X-Deadline-Ms"
DEPTH_HEADER = "X-Chain-Depth"
LONGEST_MS = 3_600_000


class DeadlineExceeded(CompositionError):
    """Nothing is left of the request's time; whoever asked has stopped waiting."""


class ChainTooDeep(CompositionError):
    """The request is the last link of a chain that is longer than CHAIN_DEPTH_MAXIMUM."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When the request must be answered, by this process's monotonic clock, and its depth: 0 for one from outside."""

    ends: float
    depth: int = 0

    @classmethod
    def lasting(cls, seconds: float, *, depth: int = 0) -> "Budget":
        """One that begins now."""
        return cls(ends=time.monotonic() + seconds, depth=depth)

    @property
    def left(self) -> float:
        """Seconds that remain; never negative."""
        return max(self.ends - time.monotonic(), 0.0)

    def within(self, seconds: float) -> "Budget":
        """The same, or shorter: at most `seconds` from now."""
        return Budget(ends=min(self.ends, time.monotonic() + seconds), depth=self.depth)

    def headers(self) -> dict[str, str]:
        """What a call made under this budget carries.

        Raises:
            ChainTooDeep: the call would be deeper than CHAIN_DEPTH_MAXIMUM.
            DeadlineExceeded: there is nothing left to give.
        """
        deepest = settings().CHAIN_DEPTH_MAXIMUM
        if self.depth + 1 > deepest:
            raise ChainTooDeep(
                f"a call at depth {self.depth + 1} is one too many of CHAIN_DEPTH_MAXIMUM {deepest}; "
                "let the last service keep a projection of what it asks for"
            )
        milliseconds = int(self.left * 1000)
        if milliseconds <= 0:
            raise DeadlineExceeded("the deadline has passed; nothing was asked")
        return {DEADLINE_HEADER: str(milliseconds), DEPTH_HEADER: str(self.depth + 1)}


def read(headers: Mapping[str, str], allowed_seconds: float) -> Budget:
    """The budget that a request brings, at most `allowed_seconds`; what strangers send malformed is not believed.

    Raises:
        ChainTooDeep: its depth is beyond CHAIN_DEPTH_MAXIMUM.
        DeadlineExceeded: it brings none.
    """
    seconds = allowed_seconds
    left = _number(headers.get(DEADLINE_HEADER, ""), LONGEST_MS)
    if left is not None:
        if left <= 0:
            raise DeadlineExceeded("the request arrived with nothing left of its deadline")
        seconds = min(seconds, left / 1000)
    depth = _number(headers.get(DEPTH_HEADER, ""), 1000) or 0
    deepest = settings().CHAIN_DEPTH_MAXIMUM
    if depth > deepest:
        raise ChainTooDeep(f"the request stands at depth {depth} of a chain; CHAIN_DEPTH_MAXIMUM is {deepest}")
    return Budget.lasting(seconds, depth=depth)


_current: ContextVar[Budget | None] = ContextVar("strangle_budget", default=None)


def current() -> Budget:
    """The running request's, or a new one of DEADLINE_SECONDS."""
    return _current.get() or Budget.lasting(settings().DEADLINE_SECONDS)


@contextmanager
def spending(budget: Budget) -> Iterator[None]:
    """Run the block under a budget."""
    token = _current.set(budget)
    try:
        yield
    finally:
        _current.reset(token)


def _number(text: str, largest: int) -> int | None:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return min(int(text), largest)
