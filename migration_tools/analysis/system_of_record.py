"""Who may write what now: for each model and field one side, by the phase its context is in, and where copies are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Field, Model

from migration_tools.analysis.context_map import ContextMap, model_of_table
from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.paths import source_model
from migration_tools.playbook.projection import Projection
from migration_tools.state.phase import ORDER, Phase

MONOLITH = "monolith"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One field. `writer` is the only side that may write it; `copies` are columns elsewhere that follow it."""

    context: str
    owner: str
    team: str
    model: str
    field: str
    column: str
    phase: str
    writer: str
    enforced_by: str
    copies: tuple[str, ...] = ()


def writer_in(phase: Phase, service: str) -> str:
    """The one side that may write a context in a phase."""
    return service if ORDER.index(phase) >= ORDER.index(Phase.CUTOVER) else MONOLITH


def systems_of_record(
    contexts: ContextMap, playbooks: Mapping[str, type[Playbook]], phases: Mapping[str, Phase]
) -> Iterator[Record]:
    """Every field of every model, in the order of the map.

    A field that a playbook of another context copies (a customer's name beside an order) keeps the system of record
    that its own table has; the copy follows in every phase.
    """
    carried = _carried(playbooks)
    copies = _copies(playbooks)
    models = model_of_table()
    for context in contexts.contexts.values():
        for table in context.tables:
            model = models.get(table)
            if model is None:
                continue
            carrier = carried.get(table)
            phase = phases.get(carrier, Phase.MONOLITH_ONLY) if carrier else Phase.MONOLITH_ONLY
            service = playbooks[carrier].target if carrier else MONOLITH
            for field in model._meta.local_concrete_fields:
                yield Record(
                    context=context.name,
                    owner=context.owner,
                    team=context.team,
                    model=model._meta.label,
                    field=field.name,
                    column=f"{table}.{field.column}",
                    phase=phase.value if carrier else "",
                    writer=writer_in(phase, service),
                    enforced_by="fence" if phase is not Phase.MONOLITH_ONLY else "",
                    copies=tuple(sorted(copies.get((table, field.column), set()))),
                )


def _carried(playbooks: Mapping[str, type[Playbook]]) -> dict[str, str]:
    """Table → the context whose playbook moves it; replicated references stay where they are."""
    return {
        source_model(projection.model)._meta.db_table: context
        for context, playbook in playbooks.items()
        for projection in playbook.projections
    }


def _copies(playbooks: Mapping[str, type[Playbook]]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for playbook in playbooks.values():
        for projection in (*playbook.projections, *playbook.references):
            for source, copy in _copied(projection):
                found.setdefault(source, set()).add(f"{playbook.target}:{copy}")
    return found


def _copied(projection: Projection) -> Iterator[tuple[tuple[str, str], str]]:
    model = source_model(projection.model)
    for column, expression in {**projection.key_paths, **projection.columns}.items():
        for path in _paths(expression):
            field = _field_at(model, path)
            if field is not None:
                yield (field.model._meta.db_table, str(field.column)), f"{projection.into}.{column}"


def _paths(expression: Any) -> Iterator[str]:
    if isinstance(expression, str):
        yield expression
    elif isinstance(expression, F):
        yield str(expression.name)  # type: ignore[attr-defined]  # the stubs lack it
    elif hasattr(expression, "get_source_expressions"):
        for each in expression.get_source_expressions():
            yield from _paths(each)


def _field_at(model: type[Model], path: str) -> "Field[Any, Any] | None":
    at: Any = model
    *relations, last = path.split("__")
    try:
        for part in relations:
            at = at._meta.get_field(part).related_model
        field = at._meta.get_field(last)
    except Exception:  # a lookup or a transform at the end of the path
        return None
    return field if isinstance(field, Field) else None
