"""Compile a playbook's invariants to one query a side, and find what is wrong with them in the live databases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.apps import apps
from django.core.exceptions import FieldError
from django.db.models import F, Model, Q

from migration_tools.playbook.compiler import Direction, compile_values
from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.invariants import Invariant, NoOrphans, SumEqual, Unique, as_expression
from migration_tools.playbook.projection import Projection
from migration_tools.stores.postgres import Connection, describe_failure, errors, sql
from migration_tools.stores.postgres.catalog import Table, read_table, understand


@dataclass(frozen=True, kw_only=True)
class CompiledInvariant:
    """One statement. Without `source`, `target` selects the keys (as text) of the rows that break it; with it, each
    selects one total (as text), and they must be the same number."""

    name: str
    table: str
    source: str | None
    target: str


def compile_invariants(
    playbook: type[Playbook], source: Connection, target: Connection, stand_ins: Mapping[str, type[Model]]
) -> tuple[list[CompiledInvariant], list[str]]:
    """Every invariant compiled, and every mistake found on the way.

    `stand_ins` are models of the target's tables. Call with a playbook without static mistakes.
    """
    projections = {p.into: p for p in (*playbook.projections, *playbook.references)}
    compiled: list[CompiledInvariant] = []
    mistakes: list[str] = []
    for each in playbook.invariants:
        shape = read_table(target, each.table)
        if shape is None:
            continue  # said of the projection itself
        where = f"invariant {each.name!r}: "
        try:
            made = _compile(playbook, each, projections[each.table], shape, stand_ins, target)
            if made.source is not None:
                understand(source, made.source)
            understand(target, made.target)
            compiled.append(made)
        except (FieldError, _Mistake) as error:
            mistakes.append(f"{where}{error}")
        except errors.Error as error:
            mistakes.append(f"{where}{describe_failure(error)}")
    return compiled, mistakes


class _Mistake(Exception):
    """A sentence for the playbook's author."""


def _compile(
    playbook: type[Playbook],
    each: Invariant,
    projection: Projection,
    shape: Table,
    stand_ins: Mapping[str, type[Model]],
    target: Connection,
) -> CompiledInvariant:
    match each:
        case NoOrphans():
            query = _orphans(each, shape).as_string(target)
            return CompiledInvariant(name=each.name, table=each.table, source=None, target=query)
        case Unique():
            query = _repeated(each, shape).as_string(target)
            return CompiledInvariant(name=each.name, table=each.table, source=None, target=query)
    model = apps.get_model(projection.model)
    counted, path = next(iter(projection.key_paths.items()))
    filters: tuple[Q | None, Q | None] = (None, None)
    if isinstance(each, SumEqual):
        ours, theirs = as_expression(each.source), as_expression(each.target)
        total = "sum(s.v)::numeric::text"  # a sum of texts is refused when it is planned
    else:
        ours, theirs = F(path), F(counted)
        total, filters = "count(*)::text", (each.source, each.target)
    rows = _rows(playbook.source, model, shape, _and(projection.filter, filters[0]), ours)
    target_rows = _rows(playbook.target, stand_ins[each.table], shape, filters[1], theirs)
    return CompiledInvariant(
        name=each.name,
        table=each.table,
        source=f"SELECT {total} FROM ({rows}) s",  # noqa: S608  (compiled by Django)
        target=f"SELECT {total} FROM ({target_rows}) s",  # noqa: S608
    )


def _rows(alias: str, model: type[Model], shape: Table, condition: Q | None, value: object) -> str:
    direction = Direction(
        name=shape.name, model=model, alias=alias, key={}, columns={}, filter=condition, receiver=shape, owned=False
    )
    return compile_values(direction, {"v": value})


def _and(one: Q | None, other: Q | None) -> Q | None:
    return one & other if one is not None and other is not None else one or other


def _known(shape: Table, columns: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in shape.columns]
    if unknown:
        raise _Mistake(f"table {shape.name!r} has no column {unknown}; it has {sorted(shape.columns)}")


def _keys(shape: Table) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in shape.key)


def _orphans(each: NoOrphans, shape: Table) -> sql.Composed:
    _known(shape, each.columns)
    if each.columns:
        table = each.references[0].partition(".")[0]
        found = [(table, list(zip(each.columns, (r.partition(".")[2] for r in each.references), strict=True)))]
    else:
        found = [(r.target, list(zip(r.columns, r.target_columns, strict=True))) for r in shape.references]
    if not found:
        raise _Mistake(f"table {shape.name!r} declares no foreign key; name columns and references")
    checks = []
    for parent, pairs in found:
        filled = sql.SQL(" AND ").join(sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(a)) for a, _ in pairs)
        match = sql.SQL(" AND ").join(
            sql.SQL("p.{} = t.{}").format(sql.Identifier(b), sql.Identifier(a)) for a, b in pairs
        )
        checks.append(
            sql.SQL("({} AND NOT EXISTS (SELECT FROM {} p WHERE {}))").format(filled, sql.Identifier(parent), match)
        )
    return sql.SQL("SELECT {} FROM {} t WHERE {}").format(
        _keys(shape), sql.Identifier(shape.name), sql.SQL(" OR ").join(checks)
    )


def _repeated(each: Unique, shape: Table) -> sql.Composed:
    _known(shape, each.columns)
    columns = [sql.SQL("u.{}").format(sql.Identifier(name)) for name in each.columns]
    filled = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(column) for column in columns)
    return sql.SQL(
        "SELECT {} FROM (SELECT u.*, count(*) OVER (PARTITION BY {}) AS strangle_times FROM {} u WHERE {}) t "
        "WHERE t.strangle_times > 1"
    ).format(_keys(shape), sql.SQL(", ").join(columns), sql.Identifier(shape.name), filled)
