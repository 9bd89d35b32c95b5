"""Both sides of a playbook against the live databases: validated, compiled, and its mistakes all at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldError
from django.db.models import Model

from migration_tools.capture.declaration import Fence, SideSpec
from migration_tools.capture.models import Side
from migration_tools.errors import PlaybookError
from migration_tools.playbook.compiled_invariants import CompiledInvariant, compile_invariants
from migration_tools.playbook.compiler import Direction, compile_side
from migration_tools.playbook.declaration import Playbook, Projection
from migration_tools.playbook.paths import column_of
from migration_tools.playbook.target_models import make_models
from migration_tools.playbook.validation import check_turned, find_static_mistakes, uncovered
from migration_tools.stores.postgres import Connection, describe_failure, errors
from migration_tools.stores.postgres.catalog import Table, read_table, read_unbending_references


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What each side's database must hold."""

    playbook: type[Playbook]
    source: SideSpec
    target: SideSpec
    invariants: tuple[CompiledInvariant, ...] = ()

    def side(self, side: Side) -> SideSpec:
        """The one of a side."""
        return self.source if side is Side.SOURCE else self.target


def compile_playbook(playbook: type[Playbook], source: Connection, target: Connection) -> Compiled:
    """Compile both directions.

    Raises:
        PlaybookError: with every mistake found, in the declaration and against both databases.
    """
    mistakes = find_static_mistakes(playbook)
    if mistakes:
        raise PlaybookError(playbook.context or playbook.__qualname__, mistakes)
    forward: list[Direction] = []
    backward: list[Direction] = []
    names = [p.into for p in (*playbook.projections, *playbook.references)]
    stand_ins = make_models(target, names)
    for projection in (*playbook.projections, *playbook.references):
        owned = projection in playbook.projections
        model = apps.get_model(projection.model)
        receiver, source_table = read_table(target, projection.into), read_table(source, model._meta.db_table)
        found = _live_mistakes(projection, receiver, source_table, model._meta.db_table)
        found += _unbending(target, projection.into)
        if owned:
            found += _unbending(source, model._meta.db_table)
        if receiver is not None and source_table is not None and not found:
            forward.append(_forward(playbook, projection, model, receiver, owned))
            if owned:
                found += check_turned(projection, model, stand_ins[projection.into], source_table)
                if not found:
                    backward.append(_backward(playbook, projection, model, stand_ins[projection.into], source_table))
        mistakes += found
    invariants, found = compile_invariants(playbook, source, target, stand_ins)
    mistakes += found
    if mistakes:
        raise PlaybookError(playbook.context, mistakes)
    own_source = {m.model._meta.db_table: Fence.OWNER for m in forward if m.owned}
    own_target = {m.receiver.name: Fence.OWNER if m.owned else Fence.REPLICA for m in forward}
    try:
        compiled = Compiled(
            playbook=playbook,
            source=compile_side(playbook.context, Side.SOURCE, forward, conn=source, fences=own_source),
            target=compile_side(playbook.context, Side.TARGET, backward, conn=target, fences=own_target),
            invariants=tuple(invariants),
        )
    except FieldError as error:
        raise PlaybookError(playbook.context, [str(error)]) from error
    mistakes = _explain(compiled.source, source) + _explain(compiled.target, target)
    if mistakes:
        raise PlaybookError(playbook.context, mistakes)
    return compiled


def _forward(
    playbook: type[Playbook], projection: Projection, model: type[Model], receiver: Table, owned: bool
) -> Direction:
    return Direction(
        name=projection.into,
        model=model,
        alias=playbook.source,
        key=projection.key,
        columns=projection.columns,
        filter=projection.filter,
        receiver=receiver,
        owned=owned,
    )


def _backward(
    playbook: type[Playbook],
    projection: Projection,
    model: type[Model],
    stand_in: type[Model],
    receiver: Table,
) -> Direction:
    key = {column_of(model, path): target for target, path in projection.key.items()}
    columns: Mapping[str, Any] = {
        column_of(model, name): value
        for name, value in projection.turned().items()
        if column_of(model, name) not in key
    }
    return Direction(
        name=model._meta.db_table,
        model=stand_in,
        alias=playbook.target,
        key=key,
        columns=columns,
        filter=None,
        receiver=receiver,
        owned=True,
    )


def _live_mistakes(projection: Projection, receiver: Table | None, source: Table | None, source_name: str) -> list[str]:
    where = repr(projection)
    if source is None:
        return [f"{where}: table {source_name!r} is not in the source database; run migrate there"]
    if receiver is None:
        return [
            f"{where}: table {projection.into!r} is not in the target database; run the service's schema migrations"
        ]
    mistakes = []
    if not source.key:
        mistakes.append(
            f"{where}: table {source_name!r} has no primary key; add one, rows cannot be told apart without"
        )
    if not receiver.key:
        mistakes.append(f"{where}: table {projection.into!r} has no primary key; add one to the service's model")
    elif set(projection.key) != set(receiver.key):
        mistakes.append(
            f"{where}: key {sorted(projection.key)} is not the primary key {sorted(receiver.key)} of "
            f"{projection.into!r}"
        )
    given = (*projection.key, *projection.columns)
    for name in given:
        column = receiver.columns.get(name)
        if column is None:
            mistakes.append(
                f"{where}: target table {projection.into!r} has no column {name!r}; it has {sorted(receiver.columns)}"
            )
        elif column.generated:
            mistakes.append(f"{where}: column {name!r} of {projection.into!r} is generated; leave it out")
    for column in uncovered(receiver, given):
        mistakes.append(
            f"{where}: target column {column.name!r} must have a value; map it or give it a default in the database"
        )
    return mistakes


def _unbending(conn: Connection, table: str) -> list[str]:
    """References that the sync would trip over, or that would delete rows of others behind its back."""
    return [
        f"reference {name!r} of {by} to {table!r} {problem}; make it NO ACTION DEFERRABLE INITIALLY DEFERRED"
        for name, by, problem in read_unbending_references(conn, table)
    ]


def _explain(side: SideSpec, conn: Connection) -> list[str]:
    """Let PostgreSQL plan each relation: what it cannot cast or find is a mistake."""
    mistakes = []
    for relation in side.relations:
        for query in (relation.query, *(d.query for d in relation.dependencies)):
            try:
                conn.execute("EXPLAIN " + query)
            except errors.Error as error:
                mistakes.append(f"projection into {relation.target_table!r}: {describe_failure(error)}")
    return mistakes
