"""What a playbook's author writes of one model: which rows become which rows."""

from collections.abc import Mapping
from typing import Any

from django.db.models import F, Q, TextField, Value


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


def _as_expression(value: Any) -> Any:
    if type(value) is Value and value.value is None:
        return Value(None, output_field=TextField())  # NULL needs a type to be compiled; it is cast anyway
    return F(value) if isinstance(value, str) else value
