"""Who caused what: the correlation and causation of the running request, task or handler."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from migration_tools.kernel.ids import uuid7


@dataclass(frozen=True, kw_only=True)
class Causality:
    """The chain an event belongs to; `metadata` (user, ip, traceparent) is copied into events."""

    correlation_id: str
    causation_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


_current: ContextVar[Causality | None] = ContextVar("strangle_causality", default=None)


def current() -> Causality:
    """The running chain, or a new one of its own."""
    return _current.get() or Causality(correlation_id=str(uuid7()))


@contextmanager
def caused_by(causality: Causality) -> Iterator[None]:
    """Run the block as part of a chain."""
    token = _current.set(causality)
    try:
        yield
    finally:
        _current.reset(token)
