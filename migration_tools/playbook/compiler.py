"""Compile a playbook: each projection becomes one relation, used to copy, to sync, to compare and to go back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections
from django.db.models import F, Model, Q

from migration_tools.capture.declaration import Dependency, Fence, RelationSpec, SideSpec, TableSpec
from migration_tools.capture.models import Side
from migration_tools.playbook.paths import column_of, fields_of, hops
from migration_tools.stores.postgres import Connection
from migration_tools.stores.postgres.catalog import Table, read_table
from migration_tools.stores.postgres.inlining import inline, quote


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One direction of a projection, ready to compile: `columns` by receiving column name, keys first."""

    name: str
    model: type[Model]
    alias: str
    key: Mapping[str, str]
    columns: Mapping[str, Any]
    filter: Q | None
    receiver: Table
    owned: bool


def compile_side(
    context: str, side: Side, mappings: Iterable[Direction], *, conn: Connection, fences: Mapping[str, Fence]
) -> SideSpec:
    """Everything the database behind `conn` holds for the context: relations out of `mappings`, triggers on tables."""
    ordered = list(mappings)
    owned_tables = {m.model._meta.db_table for m in ordered if m.owned}
    ranks = rank_tables([m.receiver for m in ordered])
    relations: list[RelationSpec] = []
    for mapping in ordered:
        relations += _relations(context, mapping, ranks[mapping.receiver.name], owned_tables, conn)
    tables = _tables(context, relations, conn, fences)
    reported = {table.table: table.reported for table in tables}
    placed = tuple(
        replace(
            relation,
            dependencies=tuple(replace(d, place=reported[d.table].index(d.column)) for d in relation.dependencies),
        )
        for relation in relations
    )
    return SideSpec(context=context, side=side.value, relations=placed, tables=tuple(tables))


def rank_tables(tables: list[Table]) -> dict[str, int]:
    """Parents before children by the references among `tables`; a cycle keeps declaration order (FKs are deferred)."""
    names = [table.name for table in tables]
    parents = {t.name: {r.target for r in t.references if r.target in names and r.target != t.name} for t in tables}
    ranks: dict[str, int] = {}
    while len(ranks) < len(parents):
        ready = [name for name in names if name not in ranks and parents[name] <= ranks.keys()]
        for name in ready or [next(name for name in names if name not in ranks)]:
            ranks.setdefault(name, len(ranks))
    return ranks


def _relations(
    context: str, mapping: Direction, rank: int, owned_tables: set[str], conn: Connection
) -> list[RelationSpec]:
    base = mapping.model._meta
    source = read_table(conn, base.db_table)
    assert source is not None  # noqa: S101  (validation refuses playbooks over missing tables)
    key_paths = list(mapping.key.values())
    source_key = tuple(column_of(mapping.model, path) for path in key_paths)
    columns: dict[str, Any] = {**{target: F(path) for target, path in mapping.key.items()}, **mapping.columns}
    dependencies: dict[tuple[str, str, str], Dependency] = {}
    foreign_columns: list[str] = []
    for name, expression in columns.items():
        for path in fields_of(expression):
            for hop in hops(mapping.model, path):
                foreign = mapping.owned and hop.table not in owned_tables
                identity = (hop.table, hop.column, hop.path)
                if identity in dependencies:
                    known = dependencies[identity]
                    dependencies[identity] = replace(known, watched=tuple(sorted({*known.watched, *hop.watched})))
                else:
                    dependencies[identity] = _dependency(
                        mapping, hop.table, hop.column, hop.path, hop.watched, foreign, conn
                    )
                if foreign and name not in foreign_columns:
                    foreign_columns.append(name)
    types = tuple(source.columns[column].type for column in source_key)
    shared: dict[str, Any] = {
        "stream": context,
        "projection": mapping.name,
        "source_table": base.db_table,
        "source_key": source_key,
        "target_table": mapping.receiver.name,
        "key_columns": tuple(mapping.key),
        "key_types": types,
        "rank": rank,
        "owned": mapping.owned,
    }
    whole = RelationSpec(
        **shared,
        kind="r",
        columns=tuple(columns),
        query=_query(mapping, key_paths, columns),
        dependencies=tuple(dependencies.values()),
    )
    if not foreign_columns:
        return [whole]
    patched = {name: columns[name] for name in (*mapping.key, *foreign_columns)}
    patch = RelationSpec(
        **shared, kind="p", columns=tuple(patched), query=_query(mapping, key_paths, patched), dependencies=()
    )
    return [whole, patch]


def _query(mapping: Direction, key_paths: list[str], columns: Mapping[str, Any]) -> str:
    """SELECT k0…, each column cast to the receiver's type under the receiver's name."""
    values = {f"k{i}": F(path) for i, path in enumerate(key_paths)}
    values |= {f"c{i}": expression for i, expression in enumerate(columns.values())}
    inner = compile_values(mapping, values)
    outer = [f"s.k{i}" for i in range(len(key_paths))]
    for i, name in enumerate(columns):
        outer.append(f"s.c{i}::{mapping.receiver.columns[name].type} AS {quote(name)}")
    return f"SELECT {', '.join(outer)} FROM ({inner}) s"  # noqa: S608  (identifiers quoted, types from the catalogue)


def compile_values(mapping: Direction, values: Mapping[str, Any]) -> str:
    """The SQL text of the model's rows with these values, literals written out; no default manager, no ordering."""
    rows = mapping.model._base_manager.using(mapping.alias).order_by()
    if mapping.filter is not None:
        rows = rows.filter(mapping.filter)
    query, params = rows.values(**values).query.get_compiler(using=mapping.alias).as_sql()
    return inline(connections[mapping.alias], query, params)


def _dependency(
    mapping: Direction,
    table: str,
    column: str,
    path: str,
    watched: frozenset[str],
    foreign: bool,
    conn: Connection,
) -> Dependency:
    shape = read_table(conn, table)
    assert shape is not None  # noqa: S101  (a model of an installed application)
    values = {f"k{i}": F(key) for i, key in enumerate(mapping.key.values())}
    return Dependency(
        table=table,
        column=column,
        column_type=shape.columns[column].type,
        watched=tuple(sorted(watched)),
        query=compile_values(mapping, {**values, "t0": F(path)}),
        foreign=foreign,
    )


def _tables(
    context: str, relations: list[RelationSpec], conn: Connection, fences: Mapping[str, Fence]
) -> list[TableSpec]:
    names = dict.fromkeys([r.source_table for r in relations])
    names |= dict.fromkeys(d.table for r in relations for d in r.dependencies)
    names |= dict.fromkeys(fences)
    specs = []
    for name in names:
        shape = read_table(conn, name)
        assert shape is not None  # noqa: S101  (validated)
        dependants = [d for r in relations for d in r.dependencies if d.table == name]
        own = [r for r in relations if r.source_table == name]
        specs.append(
            TableSpec(
                stream=context,
                table=name,
                key=own[0].source_key if own else shape.key,
                is_base=bool(own),
                watched=tuple(sorted({c for d in dependants for c in d.watched})),
                reported=tuple(sorted({d.column for d in dependants})),
                echoes=any(r.kind == "p" for r in own),
                captured=bool(own or dependants),
                fence=fences.get(name),
            )
        )
    return specs
