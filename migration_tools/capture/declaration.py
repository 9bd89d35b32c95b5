"""What a playbook asks a database to hold, as plain values: relations, captured tables, and their hashes."""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from migration_tools.capture.transforms import Made

# Bump when the text of triggers changes, so that installed ones count as outdated.
TRIGGERS_VERSION = 6


class Status(StrEnum):
    """How an installed object compares with its declaration."""

    INSTALLED = "installed"
    OUTDATED = "outdated"
    MISSING = "missing"
    DRIFTED = "drifted"
    UNDECLARED = "not declared any more"


class Source(StrEnum):
    """Where the monolith's side learns which keys were touched."""

    TRIGGERS = "triggers"
    LOG = "log"


class Fence(StrEnum):
    """Who may write a fenced table: the owner of its context, or nobody but the sync."""

    OWNER = "owner"
    REPLICA = "replica"


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """How a change in another table touches a relation's keys.

    `column` is a column of `table`; `query` has the relation's key columns as k0… and the column's value as t0.
    `place` is where the table's capture reports the column (TableSpec.reported).
    `foreign` is true when the table belongs to another context: then only denormalised columns follow it.
    """

    table: str
    column: str
    column_type: str
    watched: tuple[str, ...]
    query: str
    foreign: bool
    place: int = -1


@dataclass(frozen=True, kw_only=True)
class KeyPart:
    """Where a part of a relation's key comes from: a place in what capture reports of the table, or a constant.

    `column` is the column at that place, for touches that were written under another layout (see capture.layouts).
    """

    place: int | None = None
    constant: str | None = None
    column: str | None = None


@dataclass(frozen=True, kw_only=True)
class RelationSpec:
    """One compiled projection. `query` yields k0… (the source key, uncast) and each target column by name.

    `share` is a condition on the target table's rows: those that are this relation's; '' means all. A column that a
    function makes is not in `query`, its inputs are: see `transforms`, and then `column_types`, the types of `columns`.
    """

    stream: str
    projection: str
    kind: str
    source_table: str
    source_key: tuple[str, ...]
    target_table: str
    key_columns: tuple[str, ...]
    key_types: tuple[str, ...]
    key_parts: tuple[KeyPart, ...] = ()
    columns: tuple[str, ...]
    query: str
    share: str = ""
    dependencies: tuple[Dependency, ...]
    rank: int
    owned: bool
    transforms: tuple[Made, ...] = ()
    column_types: tuple[str, ...] = ()

    @property
    def declaration(self) -> str:
        """A hash of everything that matters; of a mapping that is all SQL the same as before there were functions."""
        said = asdict(self)
        if not self.transforms:
            del said["transforms"], said["column_types"]
        return _hash(said)


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """Triggers on one table: capture of `key` for its own relations, of `watched` → `reported` for dependants.

    `reported_as` is the captured table that this one is a partition of. `inexact` are those columns of which equal
    values may differ; they are compared by their text. A `logged` table is captured from the log instead: its triggers
    are the fence's, and the one that refuses TRUNCATE.
    """

    stream: str
    table: str
    key: tuple[str, ...]
    is_base: bool
    watched: tuple[str, ...]
    reported: tuple[str, ...]
    inexact: tuple[str, ...] = ()
    reported_as: str = ""
    echoes: bool
    captured: bool
    fence: Fence | None
    logged: bool = False

    @property
    def declaration(self) -> str:
        """A hash of everything that matters."""
        values = asdict(self)
        if not self.logged:
            # Triggers installed before there was another source are not outdated by it.
            del values["logged"]
        return _hash([TRIGGERS_VERSION, values])


@dataclass(frozen=True, kw_only=True)
class SideSpec:
    """Everything one side's database holds for a context."""

    context: str
    side: str
    relations: tuple[RelationSpec, ...]
    tables: tuple[TableSpec, ...]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
