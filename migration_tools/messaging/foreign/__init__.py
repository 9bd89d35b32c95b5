"""Changes that other tools have captured: what Debezium and Maxwell say of a row, in one form."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from migration_tools.errors import TransferError


class ForeignKind(StrEnum):
    """What a foreign change is; a row that a snapshot read has no place of its own in the log."""

    WRITTEN = "written"
    DELETED = "deleted"
    READ = "read"


class UnusableChange(TransferError):
    """A message cannot be applied as it is; it says which setting, there or here, mends it."""


@dataclass(frozen=True, kw_only=True)
class FieldSchema:
    """How a connector says that it wrote a field: the literal type, the semantic one, and its parameters."""

    type: str
    name: str | None
    parameters: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ForeignChange:
    """One row; `values` are as in the JSON, `fields` how to read them if the message says so.

    A change that is not `whole` leaves out values that are large and did not change.
    `position` orders the streamed changes of one row; of a snapshot's row it is the log's place when it was read.
    """

    table: str
    kind: ForeignKind
    values: dict[str, Any]
    position: tuple[int, ...]
    fields: dict[str, FieldSchema] = field(default_factory=dict)
    whole: bool = True
