"""Who caused what: the correlation and causation of the running request, task, command or handler."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from migration_tools.kernel.ids import uuid7
from migration_tools.messaging.tracing import current_traceparent


@dataclass(frozen=True, kw_only=True)
class Causality:
    """The chain an event belongs to; `metadata` (traceparent, command) is copied into events and captured writes.

    `user` is asked when something is written, since who it is may not be known when the chain begins.
    """

    correlation_id: str
    causation_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    user: Callable[[], str | None] | None = None

    def facts(self) -> dict[str, Any]:
        """The metadata, with the user's key if somebody is known by now, and the open span's place in its trace."""
        who = self.user() if self.user is not None else None
        span = current_traceparent()
        told = {name: value for name, value in (("user", who), ("traceparent", span)) if value is not None}
        return {**self.metadata, **told} if told else self.metadata

    def to_json(self) -> str:
        """What triggers read from the transaction; see Note [context] in capture.triggers."""
        said = {"correlation": self.correlation_id, "causation": self.causation_id, "metadata": self.facts()}
        return json.dumps({name: value for name, value in said.items() if value}, default=str)


_current: ContextVar[Causality | None] = ContextVar("strangle_causality", default=None)


def running() -> Causality | None:
    """The running chain, if there is one."""
    return _current.get()


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


@contextmanager
def caused_by_command(argv: list[str], *, actor: str | None = None) -> Iterator[None]:
    """Run the block as a management command's chain; for manage.py, around execute_from_command_line.

    Only the command's name is kept: its arguments may be personal.
    """
    metadata = {"command": argv[1] if len(argv) > 1 else "manage"} | ({"actor": actor} if actor else {})
    with caused_by(Causality(correlation_id=str(uuid7()), metadata=metadata)):
        yield
