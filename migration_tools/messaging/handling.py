"""Run an event's handlers, and tell what failed: the handler, or the machine it runs on."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from migration_tools.errors import StoreAway, StrangleError
from migration_tools.messaging.context import Causality, caused_by
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import UnknownVersion, find
from migration_tools.messaging.tracing import consuming
from migration_tools.stores.postgres import is_transient


class HandlerFailed(Exception):
    """An event could not be handled; `error` is why, `passing` whether trying again may help.

    `reason` names the kind and the place of the failure and holds nothing of the event, `detail` may.
    """

    def __init__(self, event: Envelope, error: Exception) -> None:
        self.event = event
        self.error = error
        self.passing = is_transient(error) or isinstance(error, StoreAway)
        self.hopeless = isinstance(error, UnknownVersion)
        self.reason = _reason(error)
        self.detail = str(error)[:2000]
        super().__init__(self.reason)


def handle(event: Envelope, group: str = "") -> int:
    """Call the group's handlers of an event, in the running transaction; returns how many took it.

    Raises:
        HandlerFailed: one of them raised, or none takes the event's version.
    """
    with _failing(event):
        found = find(event, group)
        chain = Causality(
            correlation_id=event.correlation_id or str(event.event_id),
            causation_id=str(event.event_id),
            metadata=event.metadata,
        )
        about = {"messaging.system": "strangler", "messaging.destination.name": event.stream}
        about |= {"messaging.operation.type": "process", "messaging.message.id": str(event.event_id)}
        with caused_by(chain), consuming(f"process {event.event_type}", event.metadata, about):
            for handler, lifted in found:
                handler.function(lifted)
    return len(found)


@contextmanager
def _failing(event: Envelope) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise HandlerFailed(event, error) from error


def _reason(error: Exception) -> str:
    """The failure without values of rows or events: our own message, or its type and where it was raised."""
    if isinstance(error, StrangleError):
        return str(error)[:500]
    place = _place(error.__traceback__)
    kind = type(error).__name__
    cause = getattr(error.__cause__, "sqlstate", None)
    if cause is not None:
        kind += f" ({cause})"
    return f"{kind} in {place}"[:500]


def _place(trace: TracebackType | None) -> str:
    """The innermost function that is neither ours, nor Django's, nor a driver's: the handler or what it called."""
    place = "a handler"
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in {"migration_tools", "django", "psycopg", "psycopg_binary", "contextlib"}:
            place = f"{module}.{trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


__all__ = ["HandlerFailed", "handle"]
