"""A table that serves many functions: which context uses which of its columns, and how it could be split.

Note [whole rows]. The ORM loads and saves whole rows unless it is told not to, which says nothing of what is needed. So
a statement that names every column counts for none; what is left are updates and selections of some, conditions, and
the lines of code that name a column.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.apps import apps
from django.db.models import Model

from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.impact import mentions
from migration_tools.analysis.statements import parse
from migration_tools.analysis.trace import Trace
from migration_tools.errors import AnalysisError
from migration_tools.stores.postgres import Connection


@dataclass(frozen=True, kw_only=True)
class ColumnUse:
    """One column: which context writes, reads and names it how often, its width, and the context it would go to."""

    column: str
    writes: dict[str, int]
    reads: dict[str, int]
    mentions: dict[str, int]
    width: int
    home: str

    @property
    def users(self) -> set[str]:
        """Every context that uses it."""
        return {*self.writes, *self.reads, *self.mentions}


@dataclass(frozen=True, kw_only=True)
class Split:
    """A table's columns and the tables proposed instead: the context's name, and columns beside the common key."""

    table: str
    model: str
    owner: str
    key: str
    rows: int
    columns: tuple[ColumnUse, ...]
    whole_rows: dict[str, int]

    @property
    def parts(self) -> dict[str, list[str]]:
        """Context → columns; the owner's part is what stays."""
        found: dict[str, list[str]] = {self.owner: []}
        for each in self.columns:
            found.setdefault(each.home, []).append(each.column)
        return found


def split_of(label: str, contexts: ContextMap, trace: Trace | None, conn: Connection | None) -> Split:
    """Sort the columns of a model's table by who uses them.

    Raises:
        AnalysisError: there is no such model.
    """
    try:
        model: type[Model] = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise AnalysisError(f"--split {label!r} names no model; write app_label.Model ({error})") from error
    table, owner = model._meta.db_table, contexts.of_model(model) or ""
    fields: list[Any] = [field for field in model._meta.local_concrete_fields if not field.primary_key]
    names = {field.column for field in fields}
    writes, reads, whole = _traced(table, names, trace)
    rows, widths = _sizes(table, conn)
    columns = []
    for field in fields:
        named = Counter(use.context for use in mentions(model.__name__, field, contexts))
        found = {"writes": writes.get(field.column, Counter()), "reads": reads.get(field.column, Counter())}
        columns.append(
            ColumnUse(
                column=field.column,
                **{how: dict(counts) for how, counts in found.items()},
                mentions=dict(named),
                width=widths.get(field.column, 0),
                home=_home(owner, found["writes"], {*found["reads"], *named}),
            )
        )
    key = model._meta.pk.column if model._meta.pk is not None else ""
    return Split(
        table=table, model=model._meta.label, owner=owner, key=str(key), rows=rows, columns=tuple(columns),
        whole_rows=dict(whole),
    )  # fmt: skip


def _home(owner: str, writes: Counter[str], others: set[str]) -> str:
    """The one context that uses a column; of several, the one that writes it; else it stays where it is."""
    for candidates in ({*writes, *others}, set(writes)):
        if len(candidates) == 1:
            return min(candidates)
    return owner


def _traced(
    table: str, names: set[str], trace: Trace | None
) -> tuple[dict[str, Counter[str]], dict[str, Counter[str]], Counter[str]]:
    writes: dict[str, Counter[str]] = {}
    reads: dict[str, Counter[str]] = {}
    whole: Counter[str] = Counter()
    for sent in (trace.sent if trace is not None else {}).values():
        statement, context = parse(sent.shape), sent.context
        if context is None or table not in statement.tables:
            continue
        for found, pairs in ((writes, statement.columns_written), (reads, statement.columns_read)):
            columns = {column for of, column in pairs if of == table} & names
            if columns >= names:
                whole[context] += sent.count
                continue
            for column in columns:
                found.setdefault(column, Counter())[context] += sent.count
    return writes, reads, whole


def _sizes(table: str, conn: Connection | None) -> tuple[int, dict[str, int]]:
    """Rows and the average width of each column, as the planner's statistics have them."""
    if conn is None:
        return 0, {}
    row = conn.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)", [f'"{table}"']).fetchone()
    widths = conn.execute(
        "SELECT attname::text, avg_width FROM pg_stats WHERE tablename = %s AND schemaname = current_schema()", [table]
    ).fetchall()
    return max(int(row[0]), 0) if row else 0, {str(name): int(width) for name, width in widths}


def render_split(found: Split, form: str) -> str:
    """As text, or as JSON for every other format."""
    if form != "text":
        return json.dumps({**asdict(found), "parts": found.parts}, ensure_ascii=False, indent=1) + "\n"
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Split) -> Iterator[str]:
    yield f"{found.model} ({found.table}) belongs to {found.owner}: {len(found.columns)} columns, {found.rows:,} rows"
    for context, columns in found.parts.items():
        width = sum(each.width for each in found.columns if each.column in columns)
        name = found.table if context == found.owner else f"{found.table}_{context}"
        yield ""
        yield f"{name} ({context}): {found.key}, {', '.join(columns)}; {width} bytes a row"
        for each in found.columns:
            if each.column in columns:
                told = [
                    f"{how} by {', '.join(f'{who} {count}' for who, count in sorted(counts.items()))}"
                    for how, counts in (("written", each.writes), ("read", each.reads), ("named", each.mentions))
                    if counts
                ]
                yield f"  {each.column}: {'; '.join(told) or 'nobody was seen to use it'}"
    if found.whole_rows:
        yield ""
        yield "whole rows, which say nothing of columns (only(), defer() and update_fields would): " + ", ".join(
            f"{context} {count}" for context, count in sorted(found.whole_rows.items())
        )
    if len(found.parts) == 1:
        yield "no context but its owner has a column to itself: there is nothing to split"
