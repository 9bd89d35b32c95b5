"""Columns that another context's code was seen to use: one that is removed fails until it is acknowledged.

Note [whole rows]. The ORM reads every column of a row unless it is told otherwise, which says nothing of what the code
needs. Where a statement reads all columns of a table, only those count that stand elsewhere than in its list: what it
filters, joins, groups and orders by.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from migration_tools.analysis.context_map import ContextMap, model_of_table
from migration_tools.analysis.statements import Statement, parse
from migration_tools.analysis.trace import Trace


@dataclass(frozen=True, order=True, kw_only=True)
class ForeignColumn:
    """`table.column` of one context that a function of another one reads or writes."""

    column: str
    context: str
    function: str

    def __str__(self) -> str:
        return f"{self.column}, which {self.context} uses in {self.function}"


def foreign_columns(trace: Trace) -> frozenset[ForeignColumn]:
    """All that a trace shows."""
    columns = columns_of_models()
    return frozenset(
        ForeignColumn(column=f"{table}.{column}", context=sent.context, function=sent.function)
        for sent in trace.sent.values()
        if sent.context is not None and not trace.contexts.is_framework(sent.context)
        for table, column in _used(parse(sent.shape), columns)
        if _is_foreign(table, sent.context, trace.contexts)
    )


def removed(known: Iterable[ForeignColumn]) -> list[ForeignColumn]:
    """Those whose column no installed model has any more."""
    there = {f"{table}.{column}" for table, columns in columns_of_models().items() for column in columns}
    return sorted(each for each in known if each.column not in there)


def columns_of_models() -> Mapping[str, frozenset[str]]:
    """Table → its columns, as the installed models have them."""
    return {
        table: frozenset(str(field.column) for field in model._meta.local_concrete_fields)
        for table, model in model_of_table().items()
    }


def _is_foreign(table: str, context: str, contexts: ContextMap) -> bool:
    owner = contexts.of_table(table)
    return owner is not None and owner != context and not contexts.is_framework(owner)


def _used(statement: Statement, columns: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str]]:
    for table in statement.tables & columns.keys():
        read = {column for of, column in statement.columns_read if of == table}
        if read >= columns[table]:
            read = {column for of, column in statement.columns_sought if of == table}
        written = {column for of, column in statement.columns_written if of == table}
        yield from ((table, column) for column in (read | written) & columns[table])
