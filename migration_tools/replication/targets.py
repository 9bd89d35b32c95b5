"""Where fields of another service's entities are kept, and what becomes of them at a deletion."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class OnDelete(StrEnum):
    """What a deletion of the entity means for what was copied of it."""

    KEEP = "keep"  # nothing: an invoice keeps the name that it was written to
    ANONYMISE = "anonymise"  # the declared constants take the place of the values
    CASCADE = "cascade"  # the rows go


@dataclass(frozen=True, kw_only=True)
class Target:
    """Columns of a local table that hold fields of the entity: in a row of its own, or denormalised in others' rows.

    `columns` maps a column to the event's field. With `own_row` the table has one row an entity, made when the entity
    is first heard of; the columns must then take NULL or have defaults, since a late event may fill them.
    """

    table: str
    key: str
    columns: Mapping[str, str]
    on_delete: OnDelete
    anonymous: Mapping[str, Any] = field(default_factory=dict)
    own_row: bool = False


class Copied(Protocol):
    """What applying an event needs to know of a declared copy; see `declaration.Copy`."""

    name: str
    ends: tuple[str, ...]
    key: str
    version: str | None
    targets: tuple[Target, ...]
    fields: list[str]
