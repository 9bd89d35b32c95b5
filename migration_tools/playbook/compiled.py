"""Both sides of a playbook against the live databases: validated, compiled, and its mistakes all at once."""

from dataclasses import dataclass, replace

from django.core.exceptions import FieldError
from django.db.models import Model

from migration_tools.capture.declaration import Fence, SideSpec, Source
from migration_tools.capture.models import Side
from migration_tools.conf import settings
from migration_tools.errors import PlaybookError
from migration_tools.playbook.compiled_invariants import CompiledInvariant, compile_invariants
from migration_tools.playbook.compiler import Direction, compile_side
from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.live_validation import find_live_mistakes, find_required_cycles
from migration_tools.playbook.paths import source_model
from migration_tools.playbook.projection import Projection
from migration_tools.playbook.siblings import joined_to
from migration_tools.playbook.target_models import make_models
from migration_tools.playbook.turning import share, turn
from migration_tools.playbook.validation import check_turned, find_static_mistakes
from migration_tools.stores.postgres import Connection, describe_failure, errors
from migration_tools.stores.postgres.catalog import Table, read_table, read_unbending_references, understand


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
    everything = (*playbook.projections, *playbook.references)
    stand_ins = make_models(target, [p.into for p in everything])
    back = [p for p in playbook.projections if joined_to(p, playbook.projections) is None]
    for projection in everything:
        owned = projection in playbook.projections
        model = source_model(projection.model)
        receiver, source_table = read_table(target, projection.into), read_table(source, model._meta.db_table)
        found = find_live_mistakes(projection, model, receiver, source_table)
        found += _unbending(target, projection.into)
        if owned:
            found += _unbending(source, model._meta.db_table)
        if receiver is not None and source_table is not None and not found:
            forward.append(_forward(playbook, projection, model, receiver, owned))
            if projection in back:
                joined = [p for p in playbook.projections if joined_to(p, playbook.projections) is projection]
                found += check_turned(projection, joined, model, stand_ins, source_table)
            if projection in back and not found:
                siblings = [p for p in back if p.model == projection.model]
                backward.append(
                    turn(
                        projection,
                        playbook.projections,
                        model,
                        stand_ins,
                        source_table,
                        aliases=(playbook.source, playbook.target),
                        name=_name(model._meta.db_table, projection, siblings),
                    )
                )
        mistakes += found
    invariants, found = compile_invariants(playbook, source, target, stand_ins)
    mistakes += found
    mistakes = list(dict.fromkeys(mistakes)) or find_required_cycles([m.receiver for m in forward])
    if mistakes:
        raise PlaybookError(playbook.context, mistakes)
    own_source = {m.model._meta.db_table: Fence.OWNER for m in forward if m.owned}
    own_target = {m.receiver.name: Fence.OWNER if m.owned else Fence.REPLICA for m in forward}
    try:
        compiled = Compiled(
            playbook=playbook,
            source=_captured(compile_side(playbook.context, Side.SOURCE, forward, conn=source, fences=own_source)),
            target=compile_side(playbook.context, Side.TARGET, backward, conn=target, fences=own_target),
            invariants=tuple(invariants),
        )
    except FieldError as error:
        raise PlaybookError(playbook.context, [str(error)]) from error
    mistakes = _understood(compiled.source, source) + _understood(compiled.target, target)
    if mistakes:
        raise PlaybookError(playbook.context, mistakes)
    return compiled


def _captured(side: SideSpec) -> SideSpec:
    """The monolith's side with its tables captured from where the settings say."""
    logged = settings().SOURCES.get(side.context, Source.TRIGGERS) == Source.LOG
    return replace(side, tables=tuple(replace(t, logged=logged and t.captured) for t in side.tables))


def _forward(
    playbook: type[Playbook], projection: Projection, model: type[Model], receiver: Table, owned: bool
) -> Direction:
    siblings = [p for p in (*playbook.projections, *playbook.references) if p.into == projection.into]
    return Direction(
        name=_name(projection.into, projection, siblings),
        model=model,
        alias=playbook.source,
        key=projection.key,
        columns=projection.columns,
        filter=projection.filter,
        receiver=receiver,
        owned=owned,
        share=share(projection, siblings, receiver),
    )


def _name(table: str, projection: Projection, siblings: list[Projection]) -> str:
    """The receiving table's name, and which of how many where several share it; TableWriter counts on it."""
    return table if len(siblings) == 1 else f"{table} {siblings.index(projection) + 1}/{len(siblings)}"


def _unbending(conn: Connection, table: str) -> list[str]:
    """References that the sync would trip over, or that would delete rows of others behind its back."""
    return [
        f"reference {name!r} of {by} to {table!r} {problem}; make it NO ACTION DEFERRABLE INITIALLY DEFERRED"
        for name, by, problem in read_unbending_references(conn, table)
    ]


def _understood(side: SideSpec, conn: Connection) -> list[str]:
    """Let PostgreSQL read each relation's query: what it cannot cast or find is a mistake."""
    mistakes = []
    for relation in side.relations:
        for query in (relation.query, *(d.query for d in relation.dependencies)):
            try:
                understand(conn, query)
            except errors.Error as error:
                mistakes.append(f"projection into {relation.target_table!r}: {describe_failure(error)}")
    return mistakes
