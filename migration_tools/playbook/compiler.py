"""Compile a playbook: each projection becomes one relation, used to copy, to sync, to compare and to go back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections
from django.db.models import F, Model, Q, Value

from migration_tools.capture.declaration import Dependency, Fence, KeyPart, RelationSpec, SideSpec, TableSpec
from migration_tools.capture.models import Side
from migration_tools.capture.transforms import Made
from migration_tools.playbook.paths import column_of, fields_of, hops
from migration_tools.playbook.transform import Transform
from migration_tools.stores.postgres import Connection, sql
from migration_tools.stores.postgres.canonical import type_names
from migration_tools.stores.postgres.catalog import Table, read_partitions, read_table
from migration_tools.stores.postgres.inlining import inline, quote


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One direction of a projection, ready to compile: `columns` by receiving column name, keys first.

    `key` maps receiving key columns to fields or constants; `share` limits the receiving table's rows to ours.
    """

    name: str
    model: type[Model]
    alias: str
    key: Mapping[str, str | Value]
    columns: Mapping[str, Any]
    filter: Q | None
    receiver: Table
    owned: bool
    share: str = ""

    def key_values(self) -> dict[str, Any]:
        """Each part of the key as an expression, k0…"""
        return {f"k{i}": F(part) if isinstance(part, str) else part for i, part in enumerate(self.key.values())}


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
    keys = {table.table: table.key for table in tables}
    placed = tuple(
        replace(
            relation,
            key_parts=_placed(relation, keys[relation.source_table]),
            dependencies=tuple(replace(d, place=reported[d.table].index(d.column)) for d in relation.dependencies),
        )
        for relation in relations
    )
    return SideSpec(context=context, side=side.value, relations=placed, tables=tuple(tables))


def rank_tables(tables: list[Table]) -> dict[str, int]:
    """Parents before children by the references among `tables`; in a cycle those count that must have a value.

    References that may be NULL wait for what they point to, see transfer.waiting. A cycle of references of which each
    must have a value keeps declaration order; validation refuses it.
    """
    names = list(dict.fromkeys(table.name for table in tables))
    parents = {t.name: {r.target for r in t.references if r.target in names and r.target != t.name} for t in tables}
    strict = {t.name: required_parents(t) & parents[t.name] for t in tables}
    ranks: dict[str, int] = {}
    while len(ranks) < len(parents):
        left = [name for name in names if name not in ranks]
        ready = [name for name in left if parents[name] <= ranks.keys()]
        ready = ready or [name for name in left if strict[name] <= ranks.keys()][:1]
        for name in ready or left[:1]:
            ranks.setdefault(name, len(ranks))
    return ranks


def required_parents(table: Table) -> set[str]:
    """Tables of which every row of this one must name a row."""
    return {r.target for r in table.references if all(table.columns[c].required for c in r.columns)}


def _relations(
    context: str, mapping: Direction, rank: int, owned_tables: set[str], conn: Connection
) -> list[RelationSpec]:
    base = mapping.model._meta
    source = read_table(conn, base.db_table)
    assert source is not None  # noqa: S101  (validation refuses playbooks over missing tables)
    source_key = tuple(column_of(mapping.model, part) for part in mapping.key.values() if isinstance(part, str))
    columns: dict[str, Any] = {**dict(zip(mapping.key, mapping.key_values().values(), strict=True)), **mapping.columns}
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
    types = tuple(
        source.columns[column_of(mapping.model, part)].base
        if isinstance(part, str)
        else mapping.receiver.columns[name].wire
        for name, part in mapping.key.items()
    )
    shared: dict[str, Any] = {
        "stream": context,
        "projection": mapping.name,
        "source_table": base.db_table,
        "source_key": source_key,
        "target_table": mapping.receiver.name,
        "key_columns": tuple(mapping.key),
        "key_types": types,
        "key_parts": tuple(
            KeyPart(place=source_key.index(column_of(mapping.model, part)))
            if isinstance(part, str)
            else KeyPart(constant=str(part.value))
            for part in mapping.key.values()
        ),
        "share": mapping.share,
        "rank": rank,
        "owned": mapping.owned,
    }
    whole = RelationSpec(
        **shared, kind="r", **_mapped(mapping, types, columns, conn), dependencies=tuple(dependencies.values())
    )
    if not foreign_columns:
        return [whole]
    patched = {name: columns[name] for name in (*mapping.key, *foreign_columns)}
    patch = RelationSpec(**shared, kind="p", **_mapped(mapping, types, patched, conn), dependencies=())
    return [whole, patch]


def _mapped(
    mapping: Direction, key_types: tuple[str, ...], columns: Mapping[str, Any], conn: Connection
) -> dict[str, Any]:
    """The parts of a RelationSpec that say how its columns are made."""
    query = _query(mapping, key_types, columns)
    said: dict[str, Any] = {"columns": tuple(columns), "query": query}
    functions = [(i, name, each) for i, (name, each) in enumerate(columns.items()) if isinstance(each, Transform)]
    if not functions:
        return said
    types = type_names(conn, sql.SQL(query))
    made = []
    for i, name, transform in functions:
        inputs = tuple(_input(i, j) for j in range(len(transform.get_source_expressions())))
        made.append(
            Made(
                column=name,
                type=mapping.receiver.columns[name].base,
                function=transform.name,
                version=transform.version,
                inputs=inputs,
                types=tuple(types[each] for each in inputs),
            )
        )
    wires = tuple(mapping.receiver.columns[name].wire for name in columns)
    return {**said, "transforms": tuple(made), "column_types": wires}


def _input(column: int, place: int) -> str:
    """The name under which a function's input leaves the query; no column of a target is called so."""
    return f"strangle c{column}x{place}"


def _query(mapping: Direction, key_types: tuple[str, ...], columns: Mapping[str, Any]) -> str:
    """SELECT k0…, each column under the receiver's name, cast to its type or to text if the type is its own.

    In place of a column that a function makes: its inputs, as they are.
    """
    values = mapping.key_values()
    for i, expression in enumerate(columns.values()):
        if isinstance(expression, Transform):
            values |= {f"c{i}x{j}": each for j, each in enumerate(expression.get_source_expressions())}
        else:
            values[f"c{i}"] = expression
    inner = compile_values(mapping, values)
    outer = [
        f"s.k{i}" if isinstance(part, str) else f"s.k{i}::{key_types[i]} AS k{i}"
        for i, part in enumerate(mapping.key.values())
    ]
    for i, (name, expression) in enumerate(columns.items()):
        if isinstance(expression, Transform):
            places = range(len(expression.get_source_expressions()))
            outer += [f"s.c{i}x{j} AS {quote(_input(i, j))}" for j in places]
        else:
            outer.append(f"s.c{i}::{mapping.receiver.columns[name].wire} AS {quote(name)}")
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
    values = mapping.key_values()
    return Dependency(
        table=table,
        column=column,
        column_type=shape.columns[column].base,
        watched=tuple(sorted(watched)),
        query=compile_values(mapping, {**values, "t0": F(path)}),
        foreign=foreign,
    )


def _placed(relation: RelationSpec, reported: tuple[str, ...]) -> tuple[KeyPart, ...]:
    """The key's parts by their places in what capture reports: the columns of every relation's key over the table."""
    return tuple(
        part
        if part.place is None
        else KeyPart(place=reported.index(relation.source_key[part.place]), column=relation.source_key[part.place])
        for part in relation.key_parts
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
        key = tuple(dict.fromkeys(c for r in own for c in r.source_key)) if own else shape.key
        named = {*key, *(c for d in dependants for c in (*d.watched, d.column))}
        spec = TableSpec(
            stream=context,
            table=name,
            key=key,
            is_base=bool(own),
            watched=tuple(sorted({c for d in dependants for c in d.watched})),
            reported=tuple(sorted({d.column for d in dependants})),
            inexact=tuple(sorted(c for c in named if not shape.columns[c].exact)),
            echoes=any(r.kind == "p" for r in own),
            captured=bool(own or dependants),
            fence=fences.get(name),
        )
        specs.append(spec)
        specs += [replace(spec, table=part, reported_as=name) for part in read_partitions(conn, name)]
    return specs


def share_of_constants(receiver: Table, constants: Mapping[str, Any]) -> str:
    """The condition that these columns of the receiving table hold these constants; '' without any."""
    parts = [
        sql.SQL("{} = {}::{}").format(sql.Identifier(n), sql.Literal(v), sql.SQL(receiver.columns[n].type)).as_string()
        for n, v in constants.items()
    ]
    return " AND ".join(parts)


def share_of_filter(model: type[Model], condition: Q | None, alias: str) -> str:
    """The condition on a model's own table that a row is within a projection's filter; '' without one."""
    if condition is None:
        return ""
    keys = [str(field.column) for field in model._meta.pk_fields]
    rows = (
        model._base_manager.using(alias)
        .order_by()
        .filter(condition)
        .values(*(f.attname for f in model._meta.pk_fields))
    )
    query, params = rows.query.get_compiler(using=alias).as_sql()
    names = ", ".join(quote(name) for name in keys)
    return f"({names}) IN ({inline(connections[alias], query, params)})"
