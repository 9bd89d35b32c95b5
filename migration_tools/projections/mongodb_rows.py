"""A read model in MongoDB: a document a row, replaced where its revision is what was read, and a pointer to a slot.

Each slot has a collection for each table, `<table>.s<number>`; one document of `strangle_read_models` says which slot
readers see, of all tables at once. Note [asked again]. Who reads looks at the pointer, asks, and looks again: what was
answered while it stayed is of one slot, whole, because a slot's collections are dropped only after the pointer has left
them. If it moved, the question is asked again. See also Note [rows outside the database] in projections.redis_rows.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from pymongo.errors import DuplicateKeyError, OperationFailure

from migration_tools.errors import StoreError
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
from migration_tools.stores.mongodb_client import answering, database_at

ATTEMPTS = 50
POINTERS = "strangle_read_models"
REVISION = "revision"

Answer = TypeVar("Answer")
Question = Callable[[Callable[[str], Any]], Answer]


class MongoRows:
    """The rows of one read model in one database; see projections.elsewhere."""

    def __init__(self, model: ReadModel, url: str):
        self.model = model
        with self._answering():
            for table in model.tables:
                refuse_names(table, {OURS, "_id"})
            self._database = database_at(url, "read_models")

    def apply(self, slot: Slot, changes: Iterable[Change], *, stream: str, position: int, shown: bool) -> None:
        """See Elsewhere."""
        with self._answering():
            for change in changes:
                self._merge(table_of(self.model, change.table), slot, change, stream, position)
            if shown and self._shown() != slot.number:
                # A swap that was cut off before it could say so, or a server that was emptied.
                self._show(slot.number)

    def read(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """See Elsewhere."""
        declared = table_of(self.model, table)
        wanted = {"_id": _identity(declared, key)}
        row = _row(declared, self.ask(lambda of: of(table).find_one(wanted)))
        return {**key, **row.values} if row.present else None

    def ask(self, question: Question[Answer]) -> Answer:
        """Ask what readers see; `question` gets collections by table, of one slot, and is asked again after a swap.

        It must have its whole answer when it returns, not a cursor. Rows that are there match {"strangle.live": True}.

        Raises:
            StoreAway: no server answers.
            StoreError: it refused.
        """
        with self._answering():
            for _ in range(ATTEMPTS):
                number = self._shown()
                try:
                    answer = question(partial(self._collection, number))
                except OperationFailure:
                    # A cursor whose collection was dropped under it says so.
                    if self._shown() == number:
                        raise
                    continue
                if self._shown() == number:
                    return answer
            raise StoreError(f"the slots were swapped {ATTEMPTS} times while it was asked")

    def show(self, number: int) -> None:
        """See Elsewhere; all tables at once."""
        with self._answering():
            self._show(number)

    def drop(self, number: int) -> None:
        """See Elsewhere."""
        with self._answering():
            for table in self.model.tables:
                self._collection(number, table.name).drop()

    def close(self) -> None:
        """See Elsewhere."""
        self._database.client.close()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        with told_of(self.model), answering():
            yield

    def _show(self, number: int) -> None:
        self._database[POINTERS].update_one({"_id": self.model.name}, {"$set": {"slot": number}}, upsert=True)

    def _shown(self) -> int:
        found = self._database[POINTERS].find_one({"_id": self.model.name})
        return 0 if found is None else int(found["slot"])

    def _collection(self, number: int, table: str) -> Any:
        return self._database[f"{table_of(self.model, table).name}.s{number}"]

    def _merge(self, table: Table, slot: Slot, change: Change, stream: str, position: int) -> None:
        collection, identity = self._collection(slot.number, table.name), _identity(table, change.key)
        for _ in range(ATTEMPTS):
            found = collection.find_one({"_id": identity})
            before = _row(table, found)
            after = changed(table, before, change, stream=stream, position=position)
            if after == before:
                return
            document = {"_id": identity, **_document(table, change.key, after)}
            if found is None:
                try:
                    collection.insert_one(document)
                except DuplicateKeyError:
                    continue
                return
            # Only where nobody else wrote it since it was read; the new revision is like no other.
            unless = {"_id": identity, f"{OURS}.{REVISION}": found[OURS][REVISION]}
            if collection.replace_one(unless, document).matched_count:
                return
        raise StoreError(f"a row of {table.name!r} was written by others {ATTEMPTS} times; try again")


def _identity(table: Table, key: Mapping[str, Any]) -> Any:
    """The `_id` of a row: the key's text, or a document of several in the order of the table's."""
    parts = key_parts(table, key)
    return parts[0] if len(parts) == 1 else dict(zip(table.key, parts, strict=True))


def _document(table: Table, key: Mapping[str, Any], row: Row) -> dict[str, Any]:
    held = flat(table, key, row)
    held[OURS][REVISION] = ObjectId()
    return {**held, **{name: _to_bson(value) for name, value in row.values.items() if isinstance(value, _OWN)}}


# Of which MongoDB has a better form than JSON's: numbers that it can sum, and moments in one zone, whose text sorts.
_OWN = (Decimal, dt.datetime)


def _to_bson(value: Decimal | dt.datetime) -> Any:
    if isinstance(value, dt.datetime):
        return (value.astimezone(dt.UTC) if value.tzinfo else value).isoformat()
    try:
        return Decimal128(value)
    except ArithmeticError:
        # More than 34 digits: kept as text, and not summed.
        return str(value)


def _row(table: Table, found: Mapping[str, Any] | None) -> Row:
    return Row() if found is None else from_flat(table, found)
