"""Read the shape of a JOIN: whose rows it gives, what each of them refers to, and which columns it shows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlglot
from sqlglot import exp

from migration_tools.errors import StrangleError


class UnfitJoin(StrangleError):
    """A query that no read model can be made of; `mistakes` says why, all at once."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(mistakes, 1))
        super().__init__(f"no read model can be made of this query:\n{lines}")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An output column: of which table (by alias), and under which name."""

    alias: str
    column: str
    name: str


@dataclass(kw_only=True)
class JoinShape:
    """A JOIN along foreign keys: `tables` by alias, the first of them its rows' own.

    `links` has for each other alias the (alias, column) that refers to it and the column that is referred to. `wanted`
    are columns that the query compares with a value: they are shown too and have an index. `bare` is the query without
    these comparisons, order and limit, which is what the read model shows.
    """

    tables: dict[str, str]
    links: dict[str, tuple[str, str, str]]
    shown: list[Shown]
    wanted: list[Shown] = field(default_factory=list)
    bare: str = ""

    @property
    def root(self) -> str:
        """The alias whose rows the query gives."""
        return next(iter(self.tables))


def read_join(query: str) -> JoinShape:
    """Read a SELECT; ORDER BY, LIMIT and comparisons with values are left to the queries of the view.

    Raises:
        UnfitJoin: it is not a SELECT of columns along equalities, or not all of its columns say whose they are.
    """
    try:
        select = sqlglot.parse_one(query, read="postgres")
    except sqlglot.errors.ParseError as error:
        raise UnfitJoin([f"it cannot be parsed: {str(error).splitlines()[0]}"]) from error
    if not isinstance(select, exp.Select):
        raise UnfitJoin([f"it is a {type(select).__name__.upper()}; give a SELECT"])
    mistakes = list(_forms(select))
    tables = {table.alias_or_name: table.name for table in select.find_all(exp.Table)}
    shown = [each for each in map(lambda e: _shown(e, tables, mistakes), select.selects) if each is not None]
    equalities, compared = _conditions(select, tables, mistakes)
    links = _links(tables, equalities, mistakes)
    if mistakes:
        raise UnfitJoin(mistakes)
    return JoinShape(tables=tables, links=links, shown=_distinct(shown), wanted=compared, bare=_bare(select))


def _forms(select: exp.Select) -> Iterator[str]:
    for part, word in (("group", "GROUP BY"), ("having", "HAVING"), ("distinct", "DISTINCT"), ("with_", "WITH")):
        if select.args.get(part):
            yield f"it has {word}; make the read model of the rows, and use Counted, Summed or Gathered on them"
    if any(isinstance(each, exp.Subquery) for each in select.find_all(exp.Subquery)):
        yield "it has a subquery; write it as a JOIN, or make a read model of it first"
    for join in select.args.get("joins") or []:
        if join.side in ("RIGHT", "FULL"):
            yield f"it has a {join.side} JOIN; begin with the table whose rows are shown"
    names = [table.name for table in select.find_all(exp.Table)]
    for name in sorted({each for each in names if names.count(each) > 1}):
        yield f"{name!r} is joined twice; a read model copies of a table by one reference"


def _shown(expression: Any, tables: dict[str, str], mistakes: list[str]) -> Shown | None:
    column = expression.this if isinstance(expression, exp.Alias) else expression
    if isinstance(column, exp.Column) and not isinstance(column.this, exp.Star):
        alias = _alias(column, tables, mistakes)
        return Shown(alias=alias, column=column.name, name=expression.alias_or_name) if alias else None
    mistakes.append(f"it shows {expression.sql('postgres')!r}; show columns by name, and let the view's query compute")
    return None


def _alias(column: exp.Column, tables: dict[str, str], mistakes: list[str]) -> str | None:
    if column.table in tables:
        return column.table
    if not column.table and len(tables) == 1:
        return next(iter(tables))
    mistakes.append(f"it does not say whose {column.name!r} is; write table.{column.name}, of one of {sorted(tables)}")
    return None


Equality = tuple[tuple[str, str], tuple[str, str]]


def _conditions(select: exp.Select, tables: dict[str, str], mistakes: list[str]) -> tuple[list[Equality], list[Shown]]:
    """(equalities of two columns, columns that are compared with a value)."""
    parts = [join.args["on"] for join in select.args.get("joins") or [] if join.args.get("on")]
    if select.args.get("where"):
        parts.append(select.args["where"].this)
    equal: list[Equality] = []
    compared: dict[tuple[str, str], Shown] = {}
    for part in parts:
        for condition in _all_of(part):
            columns = [(_alias(each, tables, mistakes) or "", each.name) for each in condition.find_all(exp.Column)]
            if isinstance(condition.unnest(), exp.EQ) and len(columns) == 2:
                equal.append((columns[0], columns[1]))
            elif len(columns) == 1:
                [(alias, name)] = columns
                compared[alias, name] = Shown(alias=alias, column=name, name=name)
            else:
                mistakes.append(
                    f"it has the condition {condition.sql('postgres')!r}; join by one equality of two columns"
                )
    return equal, list(compared.values())


def _all_of(part: Any) -> list[Any]:
    """The conditions that AND joins."""
    inner = part.unnest()
    return list(inner.flatten()) if isinstance(inner, exp.And) else [part]


def _bare(select: exp.Select) -> str:
    """The query with its joins alone."""
    made = select.copy()
    for name in ("order", "limit", "offset", "locks"):
        made.set(name, None)
    for join in made.args.get("joins") or []:
        if join.args.get("on"):
            join.set("on", _equalities(join.args["on"]) or exp.true())
    if made.args.get("where"):
        kept = _equalities(made.args["where"].this)
        made.set("where", exp.Where(this=kept) if kept else None)
    return made.sql("postgres", pretty=True)


def _equalities(part: Any) -> Any:
    kept = [
        each.copy()
        for each in _all_of(part)
        if isinstance(each.unnest(), exp.EQ) and len(list(each.find_all(exp.Column))) == 2
    ]
    return exp.and_(*kept) if kept else None


def _links(tables: dict[str, str], equalities: list[Equality], mistakes: list[str]) -> dict[str, tuple[str, str, str]]:
    """Follow the equalities from the first table on; see JoinShape."""
    links: dict[str, tuple[str, str, str]] = {}
    reached, left = {next(iter(tables), "")}, list(equalities)
    while left:
        for one, other in left:
            inner, outer = (one, other) if one[0] in reached else (other, one)
            if inner[0] in reached and outer[0] not in reached:
                links[outer[0]] = (inner[0], inner[1], outer[1])
                reached.add(outer[0])
                left.remove((one, other))
                break
        else:
            break
    for alias in tables:
        if alias not in reached:
            mistakes.append(f"nothing joins {alias!r} to the tables before it; join it by an equality of two columns")
    mistakes += [f"{one[0]}.{one[1]} and {other[0]}.{other[1]} join what is joined already" for one, other in left]
    return links


def _distinct(shown: list[Shown]) -> list[Shown]:
    """Give columns of the same name the name of their table in front."""
    names = [each.name for each in shown]
    return [
        Shown(
            alias=each.alias,
            column=each.column,
            name=each.name if names.count(each.name) == 1 else f"{each.alias}_{each.name}",
        )
        for each in shown
    ]
