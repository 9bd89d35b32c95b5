"""Which events a side publishes: declared beside the code, in `contracts` modules of installed apps."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from migration_tools.contracts.shapes import Schema, schema_of
from migration_tools.errors import ContractError

T = TypeVar("T", bound=type)


@dataclass(frozen=True, kw_only=True)
class Contract:
    """One version of an event and the JSON Schema of its payload; `rows` for the records of a table."""

    event_type: str
    stream: str
    version: int
    schema: Schema = field(hash=False)
    description: str = ""
    rows: bool = False

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.event_type} {self.version}"


_registry: dict[tuple[str, str], dict[int, Contract]] = {}


def event(event_type: str, *, stream: str, version: int = 1) -> Callable[[T], T]:
    """Declare a dataclass as the payload of an event; what `publish` is given must look like it."""

    def register(kind: T) -> T:
        description = (kind.__doc__ or "").partition("\n")[0]
        declare(event_type, stream=stream, version=version, schema=schema_of(kind), description=description)
        return kind

    return register


def declare(event_type: str, *, stream: str, version: int, schema: Mapping[str, object], description: str = "") -> None:
    """Declare an event by its JSON Schema.

    Raises:
        ContractError: another schema was declared for the same version.
    """
    made = Contract(event_type=event_type, stream=stream, version=version, schema=dict(schema), description=description)
    if version < 1:
        raise ContractError(f"contract of {event_type!r} has version {version!r}; begin with 1")
    known = _registry.setdefault((stream, event_type), {})
    if version in known and known[version].schema != made.schema:
        raise ContractError(f"two contracts are declared for {made.name!r} of {stream!r}; keep one")
    known[version] = made


def declared(stream: str, event_type: str) -> Mapping[int, Contract]:
    """The versions of an event that are declared here, by number."""
    return _registry.get((stream, event_type), {})


def contracts() -> Iterator[Contract]:
    """Everything that is declared here, in order."""
    for key in sorted(_registry):
        for version in sorted(_registry[key]):
            yield _registry[key][version]
