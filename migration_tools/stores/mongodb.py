"""MongoDB as a replica's store: one document a row, replaced where its version is not newer.

Integers and booleans are BSON's own, bounded numerics Decimal128 where it is exact; everything else is PostgreSQL's
text, dates included, because BSON's have milliseconds. A deleted row leaves a document with nothing but its version.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pymongo
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from pymongo.errors import BulkWriteError

from migration_tools.errors import StoreError
from migration_tools.stores.canonical import (
    Digests,
    Kind,
    RowHash,
    bucket_of,
    canonical,
    decimal_size,
    digest_rows,
    row_hash,
)
from migration_tools.stores.mongodb_client import DUPLICATE_KEY, answering, database_at
from migration_tools.stores.ports import Column, Held, Key, Progress, Shape, Values, VersionedRow, newest

VERSION, DELETED = "_version", "_deleted"
PROGRESS = "strangle_replica"
AT_ONCE = 500
DECIMAL_DIGITS = 34


class MongoStore:
    """The Store over the database that `url` names."""

    def __init__(self, url: str):
        self._database = database_at(url, "replicas")

    def prepare(self, shape: Shape) -> None:
        """See Store; a collection makes itself, a reserved name is refused."""
        reserved = sorted({VERSION, DELETED, "_id"} & {column.name for column in shape.columns})
        if reserved:
            raise StoreError(f"columns {reserved} are named as what the replica keeps beside a row; leave them out")
        with answering():
            self._database.command("ping")

    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        """See Store. What is there already, deleted rows too, is replaced where its version is not newer."""
        collection = self._database[shape.into]
        for part in _parts(newest(rows)):
            with answering():
                known = _insert(collection, [_document(shape, row) for row in part])
                changes = [pymongo.ReplaceOne(_not_newer(document), document) for document in known]
                if changes:
                    collection.bulk_write(changes, ordered=False)

    def read(self, shape: Shape, keys: Collection[Key]) -> dict[Key, Held]:
        """See Store."""
        wanted = {"_id": {"$in": [_identity(shape, key) for key in keys]}, DELETED: {"$ne": True}}
        with answering():
            return {
                _key(found): Held(version=int(found.get(VERSION, 0)), values=_values(shape, found))
                for found in self._database[shape.into].find(wanted)
            }

    def digest(self, shape: Shape, buckets: int) -> Digests:
        """See Store; every row travels to this process."""
        return digest_rows(self._all(shape), buckets)

    def scan(self, shape: Shape, buckets: int, wanted: Collection[int]) -> Iterator[tuple[Key, RowHash]]:
        """See Store; every row travels to this process."""
        chosen = set(wanted)
        for key, values in self._all(shape):
            if bucket_of(key, buckets) in chosen:
                yield key, row_hash(values)

    def progress(self, shape: Shape) -> Progress | None:
        """See Store."""
        with answering():
            found = self._database[PROGRESS].find_one({"_id": shape.name})
        if found is None:
            return None
        upto = found["upto"]
        return Progress(
            declaration=found["declaration"],
            position=int(found["position"]),
            upto=None if upto is None else tuple(upto),
            rows=int(found["rows"]),
            done=bool(found["done"]),
        )

    def remember(self, shape: Shape, progress: Progress) -> None:
        """See Store."""
        document = {**asdict(progress), "_id": shape.name, "position": Int64(progress.position)}
        with answering():
            self._database[PROGRESS].replace_one({"_id": shape.name}, document, upsert=True)

    def drop(self, shape: Shape) -> None:
        """See Store."""
        with answering():
            self._database[shape.into].drop()
            self._database[PROGRESS].delete_one({"_id": shape.name})

    def close(self) -> None:
        """See Store."""
        self._database.client.close()

    def _all(self, shape: Shape) -> Iterator[tuple[Key, Values]]:
        with answering():
            for found in self._database[shape.into].find({DELETED: {"$ne": True}}):
                yield _key(found), _values(shape, found)


def _parts(rows: Sequence[VersionedRow]) -> Iterator[Sequence[VersionedRow]]:
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]


def _insert(collection: Any, documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Insert documents; those of which there is one already."""
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        faults = (error.details or {}).get("writeErrors", [])
        if not faults or any(fault.get("code") != DUPLICATE_KEY for fault in faults):
            raise
        return [documents[fault["index"]] for fault in faults]
    return []


def _not_newer(document: Mapping[str, Any]) -> dict[str, Any]:
    # Not `$lte`, which would spare what somebody else put there without a version.
    return {"_id": document["_id"], VERSION: {"$not": {"$gt": document[VERSION]}}}


def _document(shape: Shape, row: VersionedRow) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "_id": _identity(shape, row.key),
        VERSION: Int64(row.version),
        DELETED: row.values is None,
    }
    if row.values is not None:
        fields |= {c.name: _to_bson(c, value) for c, value in zip(shape.columns, row.values, strict=True)}
    return fields


def _identity(shape: Shape, key: Key) -> Any:
    """The `_id` of a row: the key's text, or a document of several (an array may not be one)."""
    return key[0] if len(key) == 1 else dict(zip(shape.key, key, strict=True))


def _key(found: Mapping[str, Any]) -> Key:
    """The key of a document, also of one that somebody else put there."""
    identity = found["_id"]
    return tuple(map(str, identity.values())) if isinstance(identity, Mapping) else (str(identity),)


def _to_bson(column: Column, value: str | None) -> Any:
    if value is None:
        return None
    kind = column.kind
    if kind is Kind.INTEGER:
        return Int64(int(value))
    if kind is Kind.BOOLEAN:
        return value == "true"
    return Decimal128(value) if _is_decimal(column) else value


def _is_decimal(column: Column) -> bool:
    size = decimal_size(column.type)
    return size is not None and size[0] <= DECIMAL_DIGITS


def _values(shape: Shape, found: Mapping[str, Any]) -> Values:
    return tuple(_from_bson(column, found.get(column.name)) for column in shape.columns)


def _from_bson(column: Column, value: Any) -> str | None:
    """Canonical text of a value; one of another type than is written gets text that no value has."""
    if value is None:
        return None
    expected: type = str
    if column.kind is Kind.INTEGER:
        expected = Int64
    elif column.kind is Kind.BOOLEAN:
        expected = bool
    elif _is_decimal(column):
        expected = Decimal128
    if type(value) is not expected:
        return f"(BSON {type(value).__name__}) {value!r}"
    if expected is bool:
        return "true" if value else "false"
    if isinstance(value, Decimal128):
        return f"{value.to_decimal():f}" if value.to_decimal().is_finite() else str(value)
    try:
        return canonical(column.kind, str(value))
    except ValueError:
        return f"(no number) {value}"
