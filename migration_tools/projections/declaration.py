"""What a read model is, as its author writes it: tables, and handlers that turn an event into changes of rows."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from migration_tools.messaging.envelope import Envelope
from migration_tools.projections.columns import Column

Policy = Literal["keep", "anonymise", "cascade"]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What becomes of a row when the row of `to` that its column refers to is gone.

    `keep` leaves what was copied; `anonymise` puts `anonymous` (column → value, else NULL) in its place, for rows that
    come later too; `cascade` ends the row with it. What is anonymised or cascaded is erased where it was copied from.
    """

    to: str
    on_gone: Policy = "keep"
    anonymous: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table: its key, its columns, and the stream whose events make a row appear and end it.

    `private` tables have no view: they hold what others copy or gather. An index is a tuple of columns, "-" for DESC.
    """

    name: str
    key: Mapping[str, str]
    columns: Mapping[str, Column]
    source: str
    references: Mapping[str, Reference] = field(default_factory=dict)
    private: bool = False
    indexes: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Put:
    """Say values of a row; values that a newer event has said already are left alone.

    The row appears with the first Put of its table's own source; others wait in it unseen.
    """

    table: str
    key: Mapping[str, Any]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Gone:
    """End a row, for good: nothing that arrives later brings it back."""

    table: str
    key: Mapping[str, Any]


Change = Put | Gone
Handler = Callable[[Any, Envelope], Iterable[Change]]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """An event type that a method takes."""

    event_type: str
    stream: str
    versions: tuple[int, int]
    method: str


def on(event_type: str, *, stream: str, versions: tuple[int, int] = (1, 1)) -> Callable[[H], H]:
    """Let a method of a read model turn an event into changes; it must be a pure function of the event.

    Several may stand on one method. Older versions reach it through the upcasters declared.
    """

    def mark(method: H) -> H:
        marks = [*getattr(method, "_takes", ())]
        marks.append(Taken(event_type=event_type, stream=stream, versions=versions, method=method.__name__))
        method._takes = marks  # type: ignore[attr-defined]
        return method

    return mark


class ReadModel:
    """Subclass it in a module `read_models.py` of an installed app.

    Attributes:
        name: lower case; what commands call it.
        version: raise it when handlers change what they say, so that `check` asks for a rebuild.
        group: the group of handlers it belongs to: one consumer, position and set of dead letters per stream.
        store: where it lives: "" is the database, else a name of MIGRATION_TOOLS['STORES'] whose engine is redis,
            elasticsearch or mongodb.
        tables: its tables.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    group: ClassVar[str] = ""
    store: ClassVar[str] = ""
    tables: ClassVar[tuple[Table, ...]] = ()

    def taken(self) -> list[Taken]:
        """The events it takes, in the order of declaration."""
        return list(_taken(type(self)))

    def streams(self) -> list[str]:
        """The streams it reads, by name."""
        return sorted({each.stream for each in self.taken()})

    def of_group(self) -> str:
        """Its group; by default its own."""
        return self.group or self.name.replace("_", "-")

    def table(self, name: str) -> Table:
        """One of its tables; KeyError when it has none of that name."""
        return {table.name: table for table in self.tables}[name]

    def changes(self, taken: Taken, event: Envelope) -> list[Change]:
        """What an event changes, by the method that takes it."""
        return list(getattr(self, taken.method)(event))

    def fingerprint(self) -> str:
        """A short text that differs when tables, events or `version` do; handlers' code it cannot see."""
        facts = {
            "version": self.version,
            "tables": [_facts(table) for table in self.tables],
            "events": sorted([each.stream, each.event_type, *each.versions] for each in self.taken()),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _taken(kind: type[ReadModel]) -> Iterator[Taken]:
    seen: set[str] = set()
    for owner in kind.__mro__:
        for name, value in vars(owner).items():
            if name not in seen and callable(value):
                seen.add(name)
                yield from getattr(value, "_takes", ())


def _facts(table: Table) -> dict[str, Any]:
    columns = [[name, type(column).__name__, asdict(column)] for name, column in table.columns.items()]
    return {
        "name": table.name,
        "key": list(table.key.items()),
        "columns": columns,
        "source": table.source,
        "references": {name: asdict(reference) for name, reference in table.references.items()},
        "private": table.private,
        "indexes": table.indexes,
    }
