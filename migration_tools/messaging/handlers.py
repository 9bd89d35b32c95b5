"""Which functions take which events: declared by type and version range, found in `handlers` modules."""

from collections.abc import Callable
from dataclasses import dataclass

from migration_tools.errors import StrangleError
from migration_tools.messaging.envelope import Envelope

HandlerFunction = Callable[[Envelope], None]


@dataclass(frozen=True, kw_only=True)
class Handler:
    """A function with the events it takes."""

    event_type: str
    stream: str
    versions: tuple[int, int]
    function: HandlerFunction


_registry: dict[tuple[str, str], list[Handler]] = {}


def handles(
    event_type: str, *, stream: str, versions: tuple[int, int] = (1, 1)
) -> Callable[[HandlerFunction], HandlerFunction]:
    """Register a function for an event type of a stream, for versions first..last.

    It runs inside the consumer's transaction on the default database, once per event: its effects commit together
    with the position, so it needs no idempotency of its own for what it writes there.
    """
    if versions[0] > versions[1]:
        raise StrangleError(f"handler of {event_type!r} has versions {versions!r}; write (first, last)")

    def register(function: HandlerFunction) -> HandlerFunction:
        handler = Handler(event_type=event_type, stream=stream, versions=versions, function=function)
        known = _registry.setdefault((stream, event_type), [])
        if all(item.function is not function for item in known):
            known.append(handler)
        return function

    return register


def find(envelope: Envelope) -> list[Handler]:
    """The handlers of an event; empty when nobody wants its type.

    Raises:
        UnknownVersion: somebody handles this type, but not in this version.
    """
    known = _registry.get((envelope.stream, envelope.event_type), [])
    fitting = [item for item in known if item.versions[0] <= envelope.event_version <= item.versions[1]]
    if known and not fitting:
        raise UnknownVersion(envelope)
    return fitting


class UnknownVersion(StrangleError):
    """An event has a version that no handler of its type declares; it is parked, not dropped."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        super().__init__(
            f"no handler takes {envelope.event_type!r} in version {envelope.event_version!r}; "
            f"deploy one that does, then run strangle_dead_letters replay {envelope.stream}"
        )
