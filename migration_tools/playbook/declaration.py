"""What a playbook's author writes: projections, routes and gates of one context."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.db.models import F, Q, TextField, Value

from migration_tools.playbook.invariants import Invariant
from migration_tools.playbook.replicas import Replica


def seconds(number: float) -> dt.timedelta:
    """A duration for gates."""
    return dt.timedelta(seconds=number)


def minutes(number: float) -> dt.timedelta:
    """A duration for gates."""
    return dt.timedelta(minutes=number)


def hours(number: float) -> dt.timedelta:
    """A duration for gates."""
    return dt.timedelta(hours=number)


class Projection:
    """Rows of a model become rows of a target table: one expression a column.

    Args:
        model: the source, "app_label.Model"; "app_label.Model.field.through" is the table behind a many-to-many field.
        into: the target table's name. Several projections may go into one table if their rows can be told apart: each
            gives the same column, in `key` or `columns`, another constant, `Value("invoice")`.
        key: target key column → source field or constant; plain fields, so that a deleted row's target is known.
        columns: target column → field path or expression over the model. Columns that join a table of another context
            (`user__first_name`) are denormalised: they follow that table in every phase.
        reverse: source column → expression over the target table, for what cannot be turned round by itself. Plain
            renames are. References of the target are paths: column `order_public_id` is joined by `order_public__id`.
            Where one row goes into several tables, the first of them declared makes the row on the way back, and the
            others are joined to it by the key.
        filter: only these source rows.
    """

    def __init__(
        self,
        model: str,
        *,
        into: str,
        key: Mapping[str, str | Value],
        columns: Mapping[str, Any],
        reverse: Mapping[str, Any] | None = None,
        filter: Q | None = None,
    ):
        self.model = model
        self.into = into
        self.key = dict(key)
        self.columns = {name: _as_expression(value) for name, value in columns.items()}
        self.reverse = {name: _as_expression(value) for name, value in (reverse or {}).items()}
        self.filter = filter

    @property
    def key_paths(self) -> dict[str, str]:
        """Target key column → source field, without constants."""
        return {name: path for name, path in self.key.items() if isinstance(path, str)}

    def __repr__(self) -> str:
        return f"Projection({self.model!r}, into={self.into!r})"


@dataclass(frozen=True)
class Route:
    """URLs under `path` (whole segments) are answered by the upstream `service` as far as its share has grown."""

    path: str
    service: str = field(kw_only=True)


@dataclass(frozen=True, kw_only=True)
class Gates:
    """Evidence that moves need.

    `max_lag`: age of the oldest fact not yet applied; `clean_verifications`: in a row, without a difference, the last
    one newer than any copy or repair; `soak`: least time in a phase before the next; `quiet`: how long the old tables
    must go unread before the decommission.
    """

    max_lag: dt.timedelta = seconds(2)
    clean_verifications: int = 2
    soak: dt.timedelta = minutes(30)
    quiet: dt.timedelta = seconds(10)


class Playbook:
    """Subclass in a module that MIGRATION_TOOLS['PLAYBOOKS'] names; attributes only, no behaviour.

    `source` and `target` are aliases of settings.DATABASES as the operator's commands see them; `references` are
    projections whose source stays where it is (the service holds a replica); `replicas` go into further stores.
    """

    context: ClassVar[str] = ""
    source: ClassVar[str] = "default"
    target: ClassVar[str] = ""
    projections: ClassVar[Sequence[Projection]] = ()
    references: ClassVar[Sequence[Projection]] = ()
    replicas: ClassVar[Sequence[Replica]] = ()
    routes: ClassVar[Sequence[Route]] = ()
    invariants: ClassVar[Sequence[Invariant]] = ()
    gates: ClassVar[Gates] = Gates()


def _as_expression(value: Any) -> Any:
    if type(value) is Value and value.value is None:
        return Value(None, output_field=TextField())  # NULL needs a type to be compiled; it is cast anyway
    return F(value) if isinstance(value, str) else value
