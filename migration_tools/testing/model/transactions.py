"""Application transactions, declared: what a user writes down of a write path to have it explored."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Insert:
    """Insert a row; without a key it is drawn from the side's sequence."""

    key: int | None
    value: str


@dataclass(frozen=True)
class Update:
    """Update a row, if it is there."""

    key: int
    value: str


@dataclass(frozen=True)
class Delete:
    """Delete a row, if it is there."""

    key: int


@dataclass(frozen=True)
class Rekey:
    """Change a row's key in one UPDATE; its value stays."""

    key: int
    to: int


@dataclass(frozen=True)
class Swap:
    """Two rows exchange their values, in one UPDATE."""

    key: int
    other: int


@dataclass(frozen=True)
class Rename:
    """Change the one row of another context that every mapped row joins (a customer's name)."""

    value: str


@dataclass(frozen=True)
class Publish:
    """Publish a domain event, whose effect on the other side is not idempotent."""

    event: str


Statement: TypeAlias = Insert | Update | Delete | Rekey | Swap | Rename | Publish


@dataclass(frozen=True)
class Transaction:
    """One transaction: its statements in order, its isolation and its end."""

    name: str
    statements: tuple[Statement, ...]
    repeatable: bool = False
    rollback: bool = False

    @property
    def fenced(self) -> bool:
        """Whether it writes a table of the context."""
        return any(not isinstance(each, Rename | Publish) for each in self.statements)


def transaction(name: str, *statements: Statement, repeatable: bool = False, rollback: bool = False) -> Transaction:
    """Declare a transaction; READ COMMITTED and committed unless said otherwise."""
    return Transaction(name, statements, repeatable, rollback)
