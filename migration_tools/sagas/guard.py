"""Keep a step's transaction to its database: no other server is asked while its locks are held.

A call over the network inside a transaction holds locks for as long as somebody else likes, and what it does elsewhere
stays done when the transaction rolls back: the synchronous saga. Python reports every connection that it opens, and
every request of http.client, to audit hooks; one of them refuses both inside `only_database`. PostgreSQL's own
connections are made by libpq and are not seen. Neither is a request on a connection that was open before, by clients
that are not built on http.client: the check `strangle.E082` looks for those in the step's code.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from migration_tools.errors import SagaError

_WATCHED = frozenset({"socket.connect", "http.client.connect", "http.client.send"})

_step: ContextVar[str] = ContextVar("strangle_saga_step", default="")
_hooked = False


class SynchronousStep(SagaError):
    """A step asked another server inside its transaction."""


@contextmanager
def only_database(what: str) -> Iterator[None]:
    """Refuse connections and requests over the network in the block; `what` names it in the refusal."""
    _hook()
    token = _step.set(what)
    try:
        yield
    finally:
        _step.reset(token)


@contextmanager
def allowing_connections(reason: str) -> Iterator[None]:
    """Let the block ask other servers after all, inside a step; `reason` is for who reads the code.

    For what may be done twice or not at all: a cache, a metric.
    """
    if not reason.strip():
        raise SagaError("allowing_connections() needs a reason; say why the call may be repeated or lost")
    token = _step.set("")
    try:
        yield
    finally:
        _step.reset(token)


def _hook() -> None:
    """Install the hook on first use: audit hooks stay for the life of the process."""
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _WATCHED:
        return
    what = _step.get()
    if what:
        raise SynchronousStep(
            f"{what} opens a connection or sends a request inside its transaction ({event}); publish an event, make it "
            f"a step of its own, or wrap what may be lost in allowing_connections()"
        )
