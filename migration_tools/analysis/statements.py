"""What an SQL statement reads, writes and joins, parsed by sqlglot; a statement's shape is parsed once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from migration_tools.analysis.extra import load

_CONTROL = re.compile(
    r"\s*(SAVEPOINT|RELEASE|ROLLBACK|COMMIT|BEGIN|START|SET|RESET|SHOW|LISTEN|NOTIFY|UNLISTEN|DISCARD|DEALLOCATE|LOCK|"
    r"CLOSE|FETCH|DECLARE|VACUUM|ANALYZE|EXPLAIN|CREATE|ALTER|DROP|GRANT|REVOKE|COMMENT|DO|CALL|CHECKPOINT)\b",
    re.IGNORECASE,
)
_DRIVER_PARAMETER = re.compile(r"%\(\w+\)s|%s")
_IN_LIST = re.compile(r"\bIN \((?:\$1(?:, ?)?)+\)")
_ROWS = re.compile(r"(VALUES \([^()]*\))(?:, \([^()]*\))+")
_NUMBERED = re.compile(r"\$\d+")
# A comment to the end of its line, and before it what may hold two dashes without being one.
_LINE_COMMENT = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$.*?\$\2\$|/\*.*?\*/)|--[^\n]*""", re.DOTALL)
_SYSTEM = ("pg_", "information_schema")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """Names of tables and (table, column) pairs. `joins` are pairs of columns that are compared across two tables;
    `columns_sought` are those read elsewhere than in the list of what is selected.
    """

    verb: str
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    columns_read: frozenset[tuple[str, str]] = frozenset()
    columns_sought: frozenset[tuple[str, str]] = frozenset()
    columns_written: frozenset[tuple[str, str]] = frozenset()
    joins: frozenset[tuple[tuple[str, str], tuple[str, str]]] = frozenset()
    parsed: bool = True

    @property
    def tables(self) -> frozenset[str]:
        """All of them."""
        return self.reads | self.writes


def shape_of(sql: str) -> str:
    """The statement without what differs from call to call: parameters, the length of lists, spaces, line comments."""
    if "--" in sql:  # joined to one line, such a comment would hide all that follows it
        sql = _LINE_COMMENT.sub(lambda found: found[1] or " ", sql)
    text = _DRIVER_PARAMETER.sub("$1", sql).replace("%%", "%")
    text = " ".join(text.split())
    text = _NUMBERED.sub("$1", text)
    return _ROWS.sub(r"\1", _IN_LIST.sub("IN ($1)", text))


def is_control(sql: str) -> bool:
    """Whether a statement touches no row by itself."""
    return _CONTROL.match(sql) is not None


@lru_cache(maxsize=20_000)
def parse(shape: str) -> Statement:
    """What a shape does; `parsed` is False where sqlglot does not understand it.

    Raises:
        AnalysisError: sqlglot is not installed.
    """
    sqlglot = load("sqlglot")
    try:
        trees = sqlglot.parse(shape, dialect="postgres")
    except sqlglot.errors.SqlglotError:
        return Statement(verb="unknown", parsed=False)
    parts = [_Reading(tree).statement() for tree in trees if tree is not None]
    if len(parts) == 1:
        return parts[0]
    return Statement(
        verb=parts[0].verb if parts else "none",
        reads=frozenset().union(*(part.reads for part in parts)),
        writes=frozenset().union(*(part.writes for part in parts)),
        columns_read=frozenset().union(*(part.columns_read for part in parts)),
        columns_sought=frozenset().union(*(part.columns_sought for part in parts)),
        columns_written=frozenset().union(*(part.columns_written for part in parts)),
        joins=frozenset().union(*(part.joins for part in parts)),
    )


@lru_cache(maxsize=20_000)
def fingerprint(shape: str) -> str:
    """The same for a statement as Django sends it and as pg_stat_statements keeps it: constants are gone."""
    sqlglot = load("sqlglot")
    try:
        tree = sqlglot.parse_one(shape, dialect="postgres")
    except sqlglot.errors.SqlglotError:
        return shape.lower()
    gone = sqlglot.exp.Placeholder()

    def without(node: Any) -> Any:
        return gone.copy() if isinstance(node, sqlglot.exp.Literal | sqlglot.exp.Parameter) else node

    text = str(tree.transform(without).sql("postgres", normalize=True)).lower()
    return re.sub(r"in \((?:\?(?:, )?)+\)", "in (?)", text)


class _Reading:
    """One statement's tree, walked."""

    def __init__(self, tree: Any):
        self.exp = load("sqlglot").exp
        self.tree = tree
        exp = self.exp
        self.scopes = (exp.Select, exp.Update, exp.Delete, exp.Insert, exp.Merge)
        self.changes = (exp.Update, exp.Delete, exp.Insert, exp.Merge)
        self.names = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
        self.sources: dict[int, dict[str, str]] = {}
        self.written: dict[int, str] = {}
        self.targets: set[int] = set()

    def statement(self) -> Statement:
        """Collect everything."""
        self._find_targets()
        for table in self._tables(self.tree):
            scope = table.find_ancestor(*self.scopes)
            if scope is not None:
                self.sources.setdefault(id(scope), {})[table.alias_or_name] = table.name
        writes = set(self.written.values())
        reads = {table.name for table in self._tables(self.tree) if id(table) not in self.targets}
        # An UPDATE or DELETE with a condition reads its own table, which couples it to nobody.
        written_columns = set(self._columns_written())
        read_columns = {place for column in self.tree.find_all(self.exp.Column) for place in self._place(column)}
        return Statement(
            verb=self.tree.key,
            reads=frozenset(reads),
            writes=frozenset(writes),
            columns_read=frozenset(read_columns - written_columns),
            columns_sought=frozenset(self._columns_sought() - written_columns),
            columns_written=frozenset(written_columns),
            joins=frozenset(self._joins()),
        )

    def _tables(self, node: Any) -> Iterator[Any]:
        for table in node.find_all(self.exp.Table):
            name = table.name
            if not isinstance(table.this, self.exp.Identifier) or name in self.names:
                continue
            if name.startswith(_SYSTEM) or table.db.startswith(_SYSTEM):
                continue
            yield table

    def _find_targets(self) -> None:
        for change in self.tree.find_all(*self.changes):
            target = change.this
            if isinstance(target, self.exp.Schema):
                target = target.this
            if isinstance(target, self.exp.Table) and target.name not in self.names:
                self.written[id(change)] = target.name
                self.targets.add(id(target))
        for copy in self.tree.find_all(self.exp.Copy):
            target = copy.this.this if isinstance(copy.this, self.exp.Schema) else copy.this
            if copy.args.get("kind") and isinstance(target, self.exp.Table):  # COPY … FROM
                self.written[id(copy)] = target.name
                self.targets.add(id(target))
        if isinstance(self.tree, self.exp.TruncateTable):
            for table in self._tables(self.tree):
                self.written[id(table)] = table.name
                self.targets.add(id(table))

    def _columns_written(self) -> Iterator[tuple[str, str]]:
        for change in self.tree.find_all(self.exp.Update, self.exp.Insert, self.exp.Copy):
            table = self.written.get(id(change))
            if table is None:
                continue
            if not isinstance(change, self.exp.Update) and isinstance(change.this, self.exp.Schema):
                for column in change.this.expressions:
                    yield table, column.name
            elif isinstance(change, self.exp.Update):
                for assignment in change.expressions:
                    yield table, assignment.this.name

    def _columns_sought(self) -> set[tuple[str, str]]:
        listed = {id(each.unalias()) for each in self.tree.selects} if isinstance(self.tree, self.exp.Select) else set()
        columns = (column for column in self.tree.find_all(self.exp.Column) if id(column) not in listed)
        return {place for column in columns for place in self._place(column)}

    def _place(self, column: Any) -> Iterator[tuple[str, str]]:
        """The table that a column is of, found in the nearest scope that knows its qualifier."""
        qualifier = column.table
        scope = column.find_ancestor(*self.scopes)
        while scope is not None:
            known = self.sources.get(id(scope), {})
            if qualifier in known:
                yield known[qualifier], column.name
                return
            if not qualifier and len(known) == 1:
                yield next(iter(known.values())), column.name
                return
            scope = scope.find_ancestor(*self.scopes)

    def _joins(self) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
        for equal in self.tree.find_all(self.exp.EQ):
            left, right = equal.left, equal.right
            if not (isinstance(left, self.exp.Column) and isinstance(right, self.exp.Column)):
                continue
            for one in self._place(left):
                for other in self._place(right):
                    if one[0] != other[0]:
                        first, second = sorted((one, other))
                        yield first, second
