"""Apply changes to one slot in PostgreSQL: merge the rows, then bring along what is copied and made from them."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from migration_tools.projections.columns import Counted, FromRows, Gathered, Summed
from migration_tools.projections.declaration import Change, Put, ReadModel, Reference, Table
from migration_tools.projections.derived import copies_from, fan_out, refresh
from migration_tools.projections.merging import Row, WrongValue, gone, put, typed
from migration_tools.projections.rows import Key, TableRows, shape_of
from migration_tools.projections.slots import Slot
from migration_tools.projections.validation import in_order
from migration_tools.stores.postgres import Connection

# What of a row others are made by: its key columns and those that some Gathered, Counted or Summed names.
Touched = dict[str, dict[Key, list[Mapping[str, Any]]]]


class SlotWriter:
    """Writes one slot; call inside a transaction whose caller holds the group's lock, see Note [one writer a group]."""

    def __init__(self, conn: Connection, model: ReadModel, slot: Slot):
        self.model = model
        self.tables = [table for table in _ordered(model) if table.name in slot.held]
        self.rows = {table.name: TableRows(conn, shape_of(model, table, slot)) for table in self.tables}
        self.erases = _erases(model)

    def apply(self, changes: Iterable[Change], *, stream: str, position: int) -> None:
        """Make the changes of one event; all of them, and what follows from them.

        Raises:
            WrongValue: a change names what is not declared, or has a value of another type.
        """
        touched: Touched = {}
        fresh: dict[str, set[Key]] = {}
        for change in changes:
            table = self._table(change)
            if table.name not in self.rows:
                continue
            key = self._key(table, change.key)
            rows = self.rows[table.name]
            before = rows.read(key)
            after = self._merged(table, before, change, stream, position)
            if after == before:
                continue
            after = self._filled(table, key, after)
            rows.write(key, after)
            for each in (before, after):
                self._touch(touched, table, key, each.values)
            if before == Row():
                fresh.setdefault(table.name, set()).add(key)
        if touched:
            self._bring_along(touched, fresh)

    def _table(self, change: Change) -> Table:
        try:
            return self.model.table(change.table)
        except KeyError:
            raise WrongValue(
                f"read model {self.model.name!r} has no table {change.table!r}; it has "
                f"{[table.name for table in self.model.tables]}"
            ) from None

    def _key(self, table: Table, key: Mapping[str, Any]) -> Key:
        if set(key) != set(table.key) or any(value is None for value in key.values()):
            raise WrongValue(f"the key of {table.name!r} is {sorted(table.key)}, but {sorted(key)} were said")
        return tuple(typed(table, name, kind, key[name]) for name, kind in table.key.items())

    def _merged(self, table: Table, row: Row, change: Change, stream: str, position: int) -> Row:
        erases = self.erases[table.name]
        if isinstance(change, Put):
            held = self.rows[table.name].columns
            values = {name: value for name, value in change.values.items() if name in held or name not in table.columns}
            return put(table, row, values, stream=stream, position=position, erases=erases)
        return gone(row, erases=erases)

    def _filled(self, table: Table, key: Key, row: Row) -> Row:
        """The row with what it copies; ended, if what it refers to has taken it along."""
        if row.gone and self.erases[table.name]:
            return row
        values = dict(row.values)
        for name, reference in self._references(table):
            at = values.get(name) if name in table.columns else key[list(table.key).index(name)]
            referred = self.rows[reference.to].read((at,)) if at is not None else Row()
            if referred.gone and reference.on_gone == "cascade":
                return gone(row, erases=self.erases[table.name])
            values |= copies_from(table, name, reference, referred)
        held = {name: value for name, value in values.items() if value is not None}
        return Row(values=held, versions=row.versions, seen=row.seen, gone=row.gone)

    def _references(self, table: Table) -> list[tuple[str, Reference]]:
        held = {*table.key, *self.rows[table.name].columns}
        return [(n, each) for n, each in table.references.items() if n in held and each.to in self.rows]

    def _bring_along(self, touched: Touched, fresh: Mapping[str, set[Key]]) -> None:
        for table in self.tables:
            rows = self.rows[table.name]
            for name, reference in self._references(table):
                for key in list(touched.get(reference.to, ())):
                    referred = self.rows[reference.to].read(key)
                    erases = self.erases[table.name]
                    found = fan_out(rows, name, reference, key[0], referred, self._by(table), erases=erases)
                    for changed, values in found:
                        self._touch(touched, table, changed, values)
            made = {n: c for n, c in table.columns.items() if isinstance(c, FromRows) and n in rows.columns}
            for source in {c.table for c in made.values()} & set(self.rows):
                columns = {name: column for name, column in made.items() if column.table == source}
                for by in {column.by for column in columns.values()}:
                    wanted = {key[0] for key in fresh.get(table.name, ())}
                    for key, seen in touched.get(source, {}).items():
                        whole = [{**dict(zip(self.rows[source].table.key, key, strict=True)), **each} for each in seen]
                        wanted |= {each[by] for each in whole if each.get(by) is not None}
                    of = tuple(name for name, column in columns.items() if column.by == by)
                    for changed, values in refresh(rows, self.rows[source], by, of, wanted, self._by(table)):
                        self._touch(touched, table, changed, values)

    def _by(self, table: Table) -> tuple[str, ...]:
        """The columns of a table by which others are made of its rows."""
        found = {
            column.by
            for other in self.tables
            for column in other.columns.values()
            if isinstance(column, Gathered | Counted | Summed) and column.table == table.name
        }
        return tuple(sorted(found & set(self.rows[table.name].columns)))

    def _touch(self, touched: Touched, table: Table, key: Key, values: Mapping[str, Any]) -> None:
        touched.setdefault(table.name, {}).setdefault(key, []).append(values)


@lru_cache(maxsize=100)
def _ordered(model: ReadModel) -> tuple[Table, ...]:
    return tuple(in_order(model))


@lru_cache(maxsize=100)
def _erases(model: ReadModel) -> Mapping[str, bool]:
    """Whether a row that is gone holds nothing, by table: unless another keeps what it copied of it."""
    kept = {each.to for table in model.tables for each in table.references.values() if each.on_gone == "keep"}
    return {table.name: table.name not in kept for table in model.tables}
