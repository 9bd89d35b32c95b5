"""Which functions take which events: declared by type, version range and group, found in `handlers` modules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from migration_tools.contracts.upcasting import lift
from migration_tools.errors import StrangleError
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.groups import inbox_name

HandlerFunction = Callable[[Envelope], None]


@dataclass(frozen=True, kw_only=True)
class Handler:
    """A function with the events it takes."""

    event_type: str
    stream: str
    versions: tuple[int, int]
    function: HandlerFunction
    group: str = ""

    @property
    def name(self) -> str:
        """Where the function stands, for messages."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


_registry: dict[tuple[str, str], list[Handler]] = {}


def handles(
    event_type: str, *, stream: str, versions: tuple[int, int] = (1, 1), group: str = ""
) -> Callable[[HandlerFunction], HandlerFunction]:
    """Register a function for an event type of a stream, for versions first..last.

    It runs inside the consumer's transaction on the default database, once per event: its effects commit together
    with the position, so it needs no idempotency of its own for what it writes there. Older versions reach it through
    the upcasters declared (see contracts.upcasting). With `group` it belongs to that group's consumer.
    """
    if versions[0] > versions[1]:
        raise StrangleError(f"handler of {event_type!r} has versions {versions!r}; write (first, last)")
    inbox_name(stream, group)

    def register(function: HandlerFunction) -> HandlerFunction:
        handler = Handler(event_type=event_type, stream=stream, versions=versions, function=function, group=group)
        known = _registry.setdefault((stream, event_type), [])
        if all((item.function, item.group) != (function, group) for item in known):
            known.append(handler)
        return function

    return register


def registered(stream: str | None = None, group: str | None = None) -> Iterator[Handler]:
    """Every handler, or those of a stream, or of a group of it."""
    for handlers in _registry.values():
        for handler in handlers:
            if stream in (None, handler.stream) and group in (None, handler.group):
                yield handler


def find(envelope: Envelope, group: str = "") -> list[tuple[Handler, Envelope]]:
    """The group's handlers of an event, each with it in a version that it takes; empty when nobody wants its type.

    Raises:
        UnknownVersion: a module handles this type, but neither this version nor one that it can be lifted to.
    """
    known = [h for h in _registry.get((envelope.stream, envelope.event_type), []) if h.group == group]
    found: list[tuple[Handler, Envelope]] = []
    for module in dict.fromkeys(item.function.__module__ for item in known):
        # By module: what another app takes says nothing of whether this one has seen the event.
        fitting = list(_fitting(envelope, [item for item in known if item.function.__module__ == module]))
        if not fitting:
            raise UnknownVersion(envelope, module)
        found += fitting
    return found


def _fitting(envelope: Envelope, handlers: list[Handler]) -> Iterator[tuple[Handler, Envelope]]:
    """Those that take the version as it is; if none does, the nearest newer ones, with the payload lifted to theirs."""
    version = envelope.event_version
    taking = [item for item in handlers if item.versions[0] <= version <= item.versions[1]]
    for handler in taking:
        yield handler, replace(envelope, payload=dict(envelope.payload))
    newer = {item.versions[0] for item in handlers if item.versions[0] > version}
    if taking or not newer:
        return
    first = min(newer)
    payload = lift(envelope.stream, envelope.event_type, envelope.payload, since=version, upto=first)
    if payload is None:
        return
    for handler in handlers:
        if handler.versions[0] == first:
            yield handler, replace(envelope, event_version=first, payload=dict(payload))


class UnknownVersion(StrangleError):
    """An event has a version that no handler of its type declares; it is parked, not dropped."""

    def __init__(self, envelope: Envelope, module: str) -> None:
        self.envelope = envelope
        super().__init__(
            f"no handler in {module!r} takes {envelope.event_type!r} in version {envelope.event_version!r}; "
            f"deploy one that does, or an upcaster, then run strangle_dead_letters replay {envelope.stream}"
        )
