"""Turn projections round: what each source table is written with when rows come back from the target."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import DO_NOTHING, F, ForeignObject, Model, Q

from migration_tools.playbook.compiler import Direction, share_of_constants, share_of_filter
from migration_tools.playbook.paths import column_of, fields_of
from migration_tools.playbook.projection import Projection
from migration_tools.playbook.siblings import joined_to, marks, turned
from migration_tools.stores.postgres.catalog import Table


def turn(
    projection: Projection,
    others: Sequence[Projection],
    model: type[Model],
    stand_ins: Mapping[str, type[Model]],
    receiver: Table,
    *,
    aliases: tuple[str, str],
    name: str,
) -> Direction:
    """The way back of a projection, with the columns of those joined to it; `aliases` are source and target."""
    stand_in = stand_ins[projection.into]
    key = {column_of(model, path): target for target, path in projection.key_paths.items()}
    columns = {column_of(model, name): value for name, value in turned(projection, model).items()}
    for other in others:
        if joined_to(other, others) is projection:
            _join(stand_in, stand_ins[other.into], projection, other)
            more = turned(other, model).items()
            columns |= {column_of(model, name): _through(other.into, value) for name, value in more}
    apart = marks(projection, [other for other in others if other.into == projection.into])
    return Direction(
        name=name,
        model=stand_in,
        alias=aliases[1],
        key=key,
        columns={column: value for column, value in columns.items() if column not in key},
        filter=Q(**{target: mark.value for target, mark in apart.items()}) if apart else None,
        receiver=receiver,
        owned=True,
        share=share_of_filter(model, projection.filter, aliases[0]),
    )


def share(projection: Projection, siblings: Sequence[Projection], receiver: Table) -> str:
    """Which of the target's rows are this projection's."""
    return share_of_constants(receiver, {name: mark.value for name, mark in marks(projection, siblings).items()})


def _join(stand_in: type[Model], other: type[Model], projection: Projection, joined: Projection) -> None:
    """Let the first table's stand-in reach the other's by the key that both have from the source's row."""
    by_path = {path: target for target, path in joined.key_paths.items()}
    link = ForeignObject(
        other,
        DO_NOTHING,
        from_fields=list(projection.key_paths),
        to_fields=[by_path[path] for path in projection.key_paths.values()],
        null=True,
        related_name="+",
    )
    link.contribute_to_class(stand_in, joined.into)


def _through(table: str, expression: Any) -> Any:
    """The expression over the joined table, as one over the first."""
    paths = set(fields_of(expression))
    return expression.replace_expressions({F(path): F(f"{table}__{path}") for path in paths})
