"""What is kept of another service's entities, of which events it is learnt, and where the truth can be asked for."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from migration_tools.errors import ReplicationError
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import handles
from migration_tools.replication.copying import take_event
from migration_tools.replication.targets import OnDelete, Target


class Source(Protocol):
    """Where the truth can be asked for, to reconcile and rebuild; rows carry the copy's fields, key and version."""

    def page(self, after: str | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """The next rows in the source's own order of keys; empty at the end."""
        ...

    def rows(self, keys: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Those of these keys that exist."""
        ...


class Copy:
    """A declared copy of entities that live elsewhere; all mistakes are refused at once.

    Args:
        says: event types whose payloads carry fields, such as customer.created and customer.updated.
        ends: event types that delete, such as customer.deleted.
        key: the payload's member that tells which entity.
        version: the payload's member that its owner draws under the entity's lock. Without it the event's position
            in its stream is taken, which is as good while one side publishes the stream.
        source: where to reconcile with, or rebuild from; its rows must then carry `version`.
    """

    def __init__(
        self,
        name: str,
        *,
        stream: str,
        says: Sequence[str],
        ends: Sequence[str] = (),
        key: str,
        version: str | None = None,
        targets: Sequence[Target],
        source: Source | None = None,
        versions: tuple[int, int] = (1, 1),
        group: str = "",
    ):
        self.name = name
        self.stream = stream
        self.says = tuple(says)
        self.ends = tuple(ends)
        self.key = key
        self.version = version
        self.targets = tuple(targets)
        self.source = source
        self.fields = sorted({name for target in targets for name in target.columns.values()})
        mistakes = list(_mistakes(self))
        if mistakes:
            lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(mistakes, 1))
            raise ReplicationError(f"copy {name!r} cannot be used:\n{lines}")
        copies[name] = self
        for event_type in (*self.says, *self.ends):
            handles(event_type, stream=stream, versions=versions, group=group)(self.handle)

    def handle(self, event: Envelope) -> None:
        """Take an event, in the consumer's transaction."""
        take_event(self, event)


#: Every declared copy by name.
copies: dict[str, Copy] = {}


def named(name: str) -> Copy:
    """The copy of this name.

    Raises:
        ReplicationError: there is none.
    """
    if name not in copies:
        raise ReplicationError(f"no copy {name!r} is declared here; there are {sorted(copies)}")
    return copies[name]


def _mistakes(copy: Copy) -> Iterable[str]:
    if copy.name in copies:
        yield f"another copy is called {copy.name!r} too"
    if not copy.says:
        yield "it names no events that say something"
    if copy.source is not None and copy.version is None:
        yield "it has a source, but no version by which the source's rows and events could be told apart"
    if not copy.targets:
        yield "it has no targets"
    for target in copy.targets:
        if not target.columns:
            yield f"target {target.table!r} has no columns"
        if target.key in target.columns:
            yield f"target {target.table!r} names its key {target.key!r} among the columns"
        if target.on_delete is OnDelete.ANONYMISE and set(target.anonymous) != set(target.columns):
            yield f"target {target.table!r} anonymises; give a constant for each of {sorted(target.columns)}"
        if target.on_delete is not OnDelete.ANONYMISE and target.anonymous:
            yield f"target {target.table!r} has constants, but on_delete is {target.on_delete.value!r}"
