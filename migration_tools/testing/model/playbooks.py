"""Scenarios that a playbook's projections call for, derived from what it declares and what its models are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from django.db.models import AutoField, Model, UniqueConstraint

from migration_tools.playbook import Playbook, Projection
from migration_tools.playbook.paths import fields_of, hops, own_field, source_model
from migration_tools.testing.model.transactions import (
    Delete,
    Insert,
    Publish,
    Rekey,
    Rename,
    Swap,
    Update,
    transaction,
)
from migration_tools.testing.model.world import Scenario


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What of a projection decides which schedules there are.

    `owned`: it is handed over and back; `unique`: a mapped column beside the key is; `joined`: a column follows another
    table; `drawn`: keys come from a sequence.
    """

    owned: bool
    unique: bool
    joined: bool
    drawn: bool


def traits_of(playbook: type[Playbook]) -> dict[str, Traits]:
    """The traits of each target table, in the playbook's order; of several projections into one table, all together."""
    found: dict[str, Traits] = {}
    for projection in (*playbook.projections, *playbook.references):
        model = source_model(projection.model)
        paths = {path for expression in projection.columns.values() for path in fields_of(expression)}
        mine = Traits(
            owned=projection in playbook.projections,
            unique=_unique(model, paths),
            joined=any(hops(model, path) for path in paths),
            drawn=_drawn(model, projection),
        )
        known = found.get(projection.into, mine)
        found[projection.into] = replace(
            mine,
            unique=mine.unique or known.unique,
            joined=mine.joined or known.joined,
            drawn=mine.drawn and known.drawn,
        )
    return found


def scenarios(playbook: type[Playbook]) -> Iterator[Scenario]:
    """What there is to explore; tables of equal traits are explored once, together."""
    tables: dict[Traits, list[str]] = {}
    for table, traits in traits_of(playbook).items():
        tables.setdefault(traits, []).append(table)
    for traits, names in tables.items():
        for scenario in _of(traits):
            yield replace(scenario, name=f"{', '.join(names)}: {scenario.name}")


def _of(traits: Traits) -> Iterator[Scenario]:
    new = Insert(None, "c") if traits.drawn else Insert(4, "c")
    copied = Scenario(
        name="copied beside a change, a row that comes again, and one that is undone",
        rows=((1, "a"), (2, "b")),
        chunks=(1, None),
        unique=traits.unique,
        transactions=(
            transaction("change", Update(2, "d"), Delete(1)),
            transaction("again", Insert(1, "c")),
            transaction("undone", Update(2, "e"), rollback=True),
        ),
    )
    yield copied
    if traits.joined:
        yield replace(
            copied,
            name="copied beside a change and a name next door",
            transactions=(transaction("change", Update(2, "d"), Delete(1)), transaction("rename", Rename("m"))),
        )
    yield Scenario(
        name="keys change, values change places" if traits.unique else "keys change",
        rows=((1, "a"), (2, "b")),
        unique=traits.unique,
        transactions=(
            transaction("rekey", Rekey(1, 3)),
            transaction("swap", Swap(2, 3)) if traits.unique else transaction("change", Update(2, "c"), Update(3, "c")),
            transaction("reuse", Delete(2), Insert(4, "b")),
        ),
    )
    if traits.owned:
        yield Scenario(
            name="handed over and back, and one that dies on the way",
            unique=traits.unique,
            transactions=(transaction("change", Update(1, "b"), Publish("changed")), transaction("new", new)),
            moves=(1, 0),
            crashes=1,
        )


def _unique(model: type[Model], paths: set[str]) -> bool:
    own = {path for path in paths if own_field(model, path)}
    alone = any(getattr(model._meta.get_field(path), "unique", False) for path in own)
    sets = [each.fields for each in model._meta.total_unique_constraints if isinstance(each, UniqueConstraint)]
    return alone or any(set(names) <= own for names in (*sets, *model._meta.unique_together))


def _drawn(model: type[Model], projection: Projection) -> bool:
    fields = [model._meta.get_field(path) for path in projection.key_paths.values() if own_field(model, path)]
    return any(isinstance(field, AutoField) or getattr(field, "db_returning", False) for field in fields)
