"""Columns that hold the same values on both sides, as a playbook's plain renames say."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import F

from migration_tools.capture.models import Side
from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.paths import column_of, own_field, path_of, source_model


@dataclass(frozen=True, kw_only=True)
class PairedColumns:
    """A (table, column) of the source and the one of the target that holds the same values."""

    source: tuple[str, str]
    target: tuple[str, str]

    def on(self, side: Side) -> tuple[str, str]:
        """The one of a side."""
        return self.source if side is Side.SOURCE else self.target


def paired_columns(playbook: type[Playbook]) -> Iterator[PairedColumns]:
    """Every plain rename of what the context owns, parts of keys among them."""
    for projection in playbook.projections:
        model = source_model(projection.model)
        renames = dict(projection.key_paths)
        renames |= {n: path_of(e) for n, e in projection.columns.items() if isinstance(e, F)}
        renames |= {path_of(e): n for n, e in projection.reverse.items() if isinstance(e, F) and "__" not in path_of(e)}
        for target, path in renames.items():
            if own_field(model, path):
                ours = (model._meta.db_table, column_of(model, path))
                yield PairedColumns(source=ours, target=(projection.into, target))
