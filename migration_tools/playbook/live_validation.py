"""Mistakes of a projection that only the live tables show."""

from collections.abc import Sequence

from django.db.models import Model

from migration_tools.playbook.compiler import required_parents
from migration_tools.playbook.paths import column_of
from migration_tools.playbook.projection import Projection
from migration_tools.playbook.transform import Transform
from migration_tools.playbook.validation import uncovered
from migration_tools.stores.postgres.catalog import Column, Table
from migration_tools.stores.postgres.ordering import order_of


def find_live_mistakes(
    projection: Projection, model: type[Model], receiver: Table | None, source: Table | None
) -> list[str]:
    """Everything wrong with the projection against both sides' tables, one sentence each."""
    where = repr(projection)
    if source is None:
        return [f"{where}: table {model._meta.db_table!r} is not in the source database; run migrate there"]
    if receiver is None:
        return [
            f"{where}: table {projection.into!r} is not in the target database; run the service's schema migrations"
        ]
    return _key_mistakes(projection, model, receiver, source) + _column_mistakes(projection, receiver)


def _key_mistakes(projection: Projection, model: type[Model], receiver: Table, source: Table) -> list[str]:
    where = repr(projection)
    mistakes = []
    if not source.key:
        mistakes.append(
            f"{where}: table {source.name!r} has no primary key; add one, rows cannot be told apart without"
        )
    if not receiver.key:
        mistakes.append(f"{where}: table {projection.into!r} has no primary key; add one to the service's model")
    elif set(projection.key) != set(receiver.key):
        mistakes.append(
            f"{where}: key {sorted(projection.key)} is not the primary key {sorted(receiver.key)} of "
            f"{projection.into!r}"
        )
    columns = {target: column_of(model, path) for target, path in projection.key_paths.items()}
    if source.key and not any(unique <= set(columns.values()) for unique in source.unique):
        mistakes.append(
            f"{where}: several rows of {source.name!r} may have the same {sorted(columns.values())}; map the primary "
            f"key {sorted(source.key)}, or add a unique constraint"
        )
    for target, name in columns.items():
        ours, theirs = source.columns.get(name), receiver.columns.get(target)
        if ours is not None and theirs is not None:
            mistakes += [f"{where}: key {target!r}: {text}" for text in _key_column(source.name, ours, theirs)]
    return mistakes


def _key_column(table: str, ours: Column, theirs: Column) -> list[str]:
    mistakes = []
    if not ours.required:
        mistakes.append(f"{ours.name!r} of {table!r} may be NULL; make it NOT NULL")
    if theirs.loose and not ours.loose:
        mistakes.append(f"the target takes texts for equal that {table!r} tells apart; use a deterministic collation")
    if order_of(ours.base) != order_of(theirs.base):
        mistakes.append(
            f"it is {ours.type} in {table!r} and {theirs.type} in the target, which sort apart; let them have one type"
        )
    return mistakes


def _column_mistakes(projection: Projection, receiver: Table) -> list[str]:
    where = repr(projection)
    mistakes = []
    given = (*projection.key, *projection.columns)
    for name in given:
        column = receiver.columns.get(name)
        if column is None:
            mistakes.append(
                f"{where}: target table {projection.into!r} has no column {name!r}; it has {sorted(receiver.columns)}"
            )
        elif column.generated:
            mistakes.append(f"{where}: column {name!r} of {projection.into!r} is generated; leave it out")
        elif isinstance(projection.columns.get(name), Transform) and _refers(receiver, name):
            mistakes.append(
                f"{where}: column {name!r} of {projection.into!r} is a reference, which a Transform cannot make; "
                "map it by an expression"
            )
    for column in uncovered(receiver, given):
        mistakes.append(
            f"{where}: target column {column.name!r} must have a value; map it or give it a default in the database"
        )
    return mistakes


def _refers(table: Table, column: str) -> bool:
    return any(column in reference.columns for reference in table.references)


def find_required_cycles(tables: Sequence[Table]) -> list[str]:
    """References among the tables, or within one, that go round and of which each must have a value.

    A row of such a table cannot be stored before the row that it points to, which may be in a later chunk.
    """
    parents = {table.name: required_parents(table) for table in tables}
    mistakes = []
    for name in parents:
        reached, waiting = set[str](), set(parents[name])
        while waiting:
            each = waiting.pop()
            if each not in reached:
                reached.add(each)
                waiting |= parents.get(each, set())
        if name in reached:
            mistakes.append(
                f"references of {name!r} lead back to itself and none of them may be NULL, so that its rows cannot be "
                "copied in portions; let one of their columns be NULL in the target"
            )
    return mistakes
