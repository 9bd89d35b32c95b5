"""What is wrong with a declared read model, every mistake at once, in sentences that say what is legal."""

import re
from collections.abc import Iterator

from migration_tools.errors import StrangleError
from migration_tools.messaging.groups import SHAPE as GROUP_SHAPE
from migration_tools.projections.columns import TYPES, Copied, Counted, Gathered, Latest, Steps, Summed, stated
from migration_tools.projections.declaration import ReadModel, Table

NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
POLICIES = ("keep", "anonymise", "cascade")


def find_mistakes(model: ReadModel) -> list[str]:
    """The mistakes of one read model; empty when it can be built."""
    found = list(_of_itself(model))
    names = [table.name for table in model.tables]
    found += [f"table {name!r} is declared twice" for name in sorted({n for n in names if names.count(n) > 1})]
    for table in model.tables:
        found += _of_table(model, table)
    if not found:
        try:
            in_order(model)
        except StrangleError as error:
            found.append(str(error))
    return found


def in_order(model: ReadModel) -> list[Table]:
    """The tables, each behind those that its derived columns are made of.

    Raises:
        StrangleError: they go round in a circle.
    """
    waiting, ordered = {table.name: table for table in model.tables}, list[Table]()
    while waiting:
        free = [name for name, table in waiting.items() if not (needs(table) - {name}) & set(waiting)]
        free = [name for name in free if name not in needs(waiting[name])]
        if not free:
            raise StrangleError(f"the derived columns of {sorted(waiting)} need each other; break the circle")
        ordered += [waiting.pop(name) for name in free]
    return ordered


def needs(table: Table) -> set[str]:
    """The tables that its derived columns are made of."""
    found = {each.to for each in table.references.values()}
    return found | {c.table for c in table.columns.values() if isinstance(c, Gathered | Counted | Summed)}


def _of_itself(model: ReadModel) -> Iterator[str]:
    if not NAME.fullmatch(model.name):
        yield f"the name {model.name!r} cannot be one; use lower-case letters, digits and _, at most 50"
    if not GROUP_SHAPE.fullmatch(model.of_group()):
        yield f"the group {model.of_group()!r} cannot be one; use lower-case letters, digits, - and _"
    if isinstance(model.version, bool) or not isinstance(model.version, int) or model.version < 1:
        yield f"the version is {model.version!r}; it must be a number from 1"
    if not model.tables:
        yield "there is no table; declare at least one in `tables`"
    if not model.taken():
        yield "no method takes an event; mark one with @on(event_type, stream=…)"
    seen: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for taken in model.taken():
        before = seen.setdefault((taken.stream, taken.event_type), [])
        if taken.versions[0] > taken.versions[1]:
            yield f"{taken.event_type!r} has versions {taken.versions!r}; write (first, last)"
        if any(taken.versions[0] <= last and first <= taken.versions[1] for first, last in before):
            yield f"two methods take {taken.event_type!r} of {taken.stream!r} in the same version; one would be enough"
        before.append(taken.versions)


def _of_table(model: ReadModel, table: Table) -> Iterator[str]:
    where = f"table {table.name!r}"
    if not NAME.fullmatch(table.name):
        yield f"{where}: the name cannot be one; use lower-case letters, digits and _, at most 50"
    if not table.key:
        yield f"{where} has no key; name at least one column with its type"
    if table.source not in model.streams():
        yield f"{where} has the source {table.source!r}, of which no event is taken; those are {model.streams()}"
    for name, kind in table.key.items():
        if kind not in TYPES or kind == "jsonb":
            yield f"{where}: key column {name!r} is {kind!r}; it may be {sorted(set(TYPES) - {'jsonb'})}"
        if name in table.columns:
            yield f"{where}: {name!r} is key and column; it can be one of them"
    for name, column in table.columns.items():
        if not NAME.fullmatch(name):
            yield f"{where}: the column name {name!r} cannot be one; use lower-case letters, digits and _"
        if not isinstance(column, Copied) and column.type not in TYPES:
            yield f"{where}: column {name!r} is {column.type!r}; it may be {sorted(TYPES)}"
        if isinstance(column, Steps) and len(set(column.steps)) < 2:
            yield f"{where}: column {name!r} has the steps {column.steps!r}; name at least two different ones"
        if isinstance(column, Latest) and column.source and column.source not in model.streams():
            yield f"{where}: column {name!r} has the source {column.source!r}, of which no event is taken"
        if not stated(column):
            yield from _of_derived(model, table, name)
    yield from _of_references(model, table)
    for index in table.indexes:
        unknown = [each for each in index if each.removeprefix("-") not in {*table.key, *table.columns}]
        if unknown or not index:
            yield f"{where}: the index {index!r} names {unknown or 'nothing'}; it may name key and columns"


def _of_derived(model: ReadModel, table: Table, name: str) -> Iterator[str]:
    where, column = f"table {table.name!r}: column {name!r}", table.columns[name]
    tables = {each.name: each for each in model.tables}
    if model.store:
        yield f"{where} is derived; in the store {model.store!r} columns are Latest, Steps or Largest only"
        return
    if isinstance(column, Copied):
        reference = table.references.get(column.via)
        if reference is None:
            yield f"{where} is copied via {column.via!r}, which has no Reference; it has {sorted(table.references)}"
        elif reference.to in tables and column.column not in tables[reference.to].columns:
            yield f"{where} copies {column.column!r}, which {reference.to!r} does not have"
        return
    if not isinstance(column, Gathered | Counted | Summed):
        return
    if len(table.key) != 1:
        yield f"{where} is made of rows that hold this table's key, which must be one column then"
    of = tables.get(column.table)
    if of is None or of is table:
        yield f"{where} is made of the rows of {column.table!r}, which is no other table of the read model"
        return
    wanted = {column.by}
    if isinstance(column, Gathered):
        wanted |= set(column.fields)
    elif isinstance(column, Summed):
        wanted.add(column.column)
    if column.by in of.columns and not stated(of.columns[column.by]):
        yield f"{where} is made by {column.by!r}, which is derived itself; it may be a key column or a stated one"
    missing = sorted(wanted - {*of.key, *of.columns})
    if missing:
        yield f"{where} is made of {missing}, which {column.table!r} does not have"


def _of_references(model: ReadModel, table: Table) -> Iterator[str]:
    tables = {each.name: each for each in model.tables}
    for name, reference in table.references.items():
        where = f"table {table.name!r}: the reference {name!r}"
        if name not in table.key and not (name in table.columns and stated(table.columns[name])):
            yield f"{where} is no column that events say; it may be a key column or a Latest one"
        if reference.to not in tables or reference.to == table.name:
            yield f"{where} leads to {reference.to!r}, which is no other table of the read model"
        elif len(tables[reference.to].key) != 1:
            yield f"{where} leads to {reference.to!r}, whose key has several columns; it must have one"
        if reference.on_gone not in POLICIES:
            yield f"{where} has on_gone={reference.on_gone!r}; it must be one of {list(POLICIES)}"
        copies = {c for c, column in table.columns.items() if isinstance(column, Copied) and column.via == name}
        stray = sorted(set(reference.anonymous) - copies)
        if stray or (reference.anonymous and reference.on_gone != "anonymise"):
            named = stray or sorted(reference.anonymous)
            yield f"{where} anonymises {named}, which needs copies via it and on_gone='anonymise'"
