"""A read model in Elasticsearch or OpenSearch: a document a row, merged where nobody else wrote it, shown by an alias.

Each slot has an index for each table, `<table>-s<number>`; the alias `<table>` leads to the live one and shows rows
that are there. A swap changes the aliases of all tables in one request, so a search sees one slot or the other, whole.
See Note [rows outside the database] in projections.redis_rows. Reading by key sees the last event, a search sees it
within the index's refresh interval, a second.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from migration_tools.errors import StoreError
from migration_tools.projections.columns import Largest, Latest, Steps
from migration_tools.projections.declaration import Change, ReadModel, Table
from migration_tools.projections.documents import (
    OURS,
    changed,
    flat,
    from_flat,
    key_parts,
    refuse_names,
    table_of,
    told_of,
)
from migration_tools.projections.merging import Row
from migration_tools.projections.slots import Slot
from migration_tools.stores.elasticsearch.documents import EXACT, LIVE, NUMBER, SETTINGS, WORDS, identity
from migration_tools.stores.elasticsearch.wire import Cluster, described, escaped

ATTEMPTS = 50
# As isoformat writes them; milliseconds count for searches, the document keeps what was said.
_MOMENT = {"type": "date", "ignore_malformed": True}
_FIELDS: Mapping[str, dict[str, Any]] = {
    "text": WORDS,
    "integer": {"type": "long"},
    "bigint": {"type": "long"},
    "numeric": NUMBER,
    "boolean": {"type": "boolean"},
    "uuid": EXACT,
    "date": _MOMENT,
    "timestamptz": _MOMENT,
}


class ElasticsearchRows:
    """The rows of one read model in one cluster; see projections.elsewhere."""

    def __init__(self, model: ReadModel, url: str):
        self.model = model
        self._cluster = Cluster(url)

    def apply(self, slot: Slot, changes: Iterable[Change], *, stream: str, position: int, shown: bool) -> None:
        """See Elsewhere."""
        with told_of(self.model):
            is_shown = self._prepare(slot.number)
            for change in changes:
                self._merge(table_of(self.model, change.table), slot, change, stream, position)
            if shown and not is_shown:
                # A swap that was cut off before it could say so, or a server that was emptied.
                self._show(slot.number)

    def read(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """See Elsewhere."""
        declared = table_of(self.model, table)
        place = f"/{escaped(table)}/_doc/{identity(tuple(key_parts(declared, key)))}"
        with told_of(self.model):
            _, found = self._cluster.ask("GET", place, expecting={404})
        row = _row(declared, found)
        return {**key, **row.values} if row.present else None

    def show(self, number: int) -> None:
        """See Elsewhere; all tables at once."""
        with told_of(self.model):
            self._prepare(number)
            self._show(number)

    def drop(self, number: int) -> None:
        """See Elsewhere."""
        with told_of(self.model):
            for table in self.model.tables:
                self._cluster.ask("DELETE", f"/{_index(table, number)}", expecting={404})

    def close(self) -> None:
        """See Elsewhere."""
        self._cluster.close()

    def _prepare(self, number: int) -> bool:
        """Make what indexes of a slot are missing; whether the aliases show this slot."""
        names = ",".join(_index(table, number) for table in self.model.tables)
        _, found = self._cluster.ask("GET", f"/{names}/_alias", params={"ignore_unavailable": "true"}, expecting={404})
        for table in self.model.tables:
            if _index(table, number) not in found:
                self._cluster.make(_index(table, number), {"settings": SETTINGS, "mappings": _mapping(table)})
        return all(table.name in found.get(_index(table, number), {}).get("aliases", {}) for table in self.model.tables)

    def _show(self, number: int) -> None:
        # Else searches would see of a slot only what the engine had refreshed of itself.
        self._cluster.refresh(",".join(_index(table, number) for table in self.model.tables))
        for _ in range(ATTEMPTS):
            actions: list[dict[str, dict[str, Any]]] = [
                {"remove": {"index": index, "alias": table.name}}
                for table in self.model.tables
                for index in self._shown(table)
                if index != _index(table, number)
            ]
            actions += [
                {"add": {"index": _index(table, number), "alias": table.name, "filter": {"term": {LIVE: True}}}}
                for table in self.model.tables
            ]
            # 404: another has removed an alias meanwhile, and nothing of the request was done.
            status, _ = self._cluster.ask("POST", "/_aliases", {"actions": actions}, expecting={404})
            if status != 404:
                return
        raise StoreError(f"the aliases were changed by others {ATTEMPTS} times")

    def _shown(self, table: Table) -> list[str]:
        status, found = self._cluster.ask("GET", f"/_alias/{table.name}", expecting={404})
        return [] if status == 404 else list(found)

    def _merge(self, table: Table, slot: Slot, change: Change, stream: str, position: int) -> None:
        place = f"/{_index(table, slot.number)}/_doc/{identity(tuple(key_parts(table, change.key)))}"
        for _ in range(ATTEMPTS):
            _, found = self._cluster.ask("GET", place, expecting={404})
            if "error" in found:
                raise StoreError(f"Elasticsearch refused: {described(404, found)}")
            before = _row(table, found)
            after = changed(table, before, change, stream=stream, position=position)
            if after == before:
                return
            # Only where nobody else wrote it since it was read, or made it.
            unless: dict[str, str | int] = {"op_type": "create"}
            if found["found"]:
                unless = {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}
            status, _ = self._cluster.ask("PUT", place, flat(table, change.key, after), params=unless, expecting={409})
            if status != 409:
                return
        raise StoreError(f"a row of {table.name!r} was written by others {ATTEMPTS} times; try again")


def _index(table: Table, number: int) -> str:
    return f"{table.name}-s{number}"


def _mapping(table: Table) -> dict[str, Any]:
    kinds = {**table.key}
    kinds |= {n: c.type for n, c in table.columns.items() if isinstance(c, Latest | Steps | Largest)}
    refuse_names(table, {OURS})
    fields = {name: _FIELDS[kind] for name, kind in kinds.items() if kind in _FIELDS}
    return {"dynamic": False, "properties": {**fields, OURS: {"properties": {"live": {"type": "boolean"}}}}}


def _row(table: Table, found: Mapping[str, Any]) -> Row:
    return from_flat(table, found["_source"]) if found.get("found") else Row()
