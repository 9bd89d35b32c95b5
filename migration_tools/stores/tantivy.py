"""A full-text index as a replica's store: Tantivy, a search engine in this process, in a directory of files.

Each row is a document: the canonical text of its values, which is what is read and compared, and beside it what is
searched. A text column has two fields, its words (split at what is no letter or digit, in small letters) and, under
`<column>.exact`, its whole value, for filters and facets. Integers and booleans are one field each. One process writes
an index at a time, the engine's lock sees to that and others wait for a batch; any number read, what was committed.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import tantivy

from migration_tools.errors import StoreError
from migration_tools.stores.canonical import Digests, Kind, RowHash, bucket_of, canonical, digest_rows, row_hash
from migration_tools.stores.full_text import Found
from migration_tools.stores.ports import Column, Held, Key, Progress, Shape, Values, VersionedRow, newest

KEY, VERSION, LIVE, ROW = "_key", "_version", "_live", "_row"
EXACT = ".exact"
INDEX, PROGRESS, COLUMNS = "index", "progress.json", "columns.json"
WRITER_BYTES = 50_000_000
PATIENCE_SECONDS = 10.0
PAUSE_SECONDS = 0.02


class TantivyStore:
    """The Store over the indexes in a directory, one for each replica."""

    def __init__(self, url: str):
        self._root = Path(url)
        self._indexes: dict[str, Any] = {}

    def prepare(self, shape: Shape) -> None:
        """See Store; an index of other columns is refused, and so is a column named like what is kept beside a row."""
        reserved = sorted(c.name for c in shape.columns if c.name.startswith("_") or EXACT in c.name)
        if reserved:
            raise StoreError(f"columns {reserved} are named as what the index keeps beside a row; leave them out")
        place, columns = self._place(shape), [[column.name, column.type] for column in shape.columns]
        with _answering():
            said = place / COLUMNS
            if said.exists():
                if json.loads(said.read_text()) != columns:
                    raise StoreError(f"the index in {place.name!r} has other columns; drop the replica, then copy anew")
                return
            (place / INDEX).mkdir(parents=True, exist_ok=True)
            tantivy.Index(_schema(shape), path=str(place / INDEX))
            _replace(said, columns)

    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        """See Store; atomic, and durable when it returns."""
        if not rows:
            return
        with _answering(), self._writing(shape) as writer:
            versions = {key: version for key, version, _ in self._documents(shape, [row.key for row in rows])}
            for row in newest(rows):
                if row.version >= versions.get(row.key, row.version):
                    writer.delete_documents_by_term(KEY, _hash(row.key))
                    writer.add_document(_document(shape, row))
            writer.commit()

    def read(self, shape: Shape, keys: Collection[Key]) -> dict[Key, Held]:
        """See Store."""
        with _answering():
            found = self._documents(shape, keys)
        return {key: Held(version=version, values=values) for key, version, values in found if values is not None}

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
        with _answering():
            said = self._place(shape) / PROGRESS
            kept = json.loads(said.read_text()) if said.exists() else None
        if kept is None:
            return None
        return Progress(**{**kept, "upto": None if kept["upto"] is None else tuple(kept["upto"])})

    def remember(self, shape: Shape, progress: Progress) -> None:
        """See Store."""
        with _answering():
            self._place(shape).mkdir(parents=True, exist_ok=True)
            _replace(self._place(shape) / PROGRESS, asdict(progress))

    def drop(self, shape: Shape) -> None:
        """See Store."""
        self._indexes.pop(shape.into, None)
        with _answering():
            if self._place(shape).exists():
                shutil.rmtree(self._place(shape))

    def close(self) -> None:
        """See Store."""
        self._indexes.clear()

    def search(
        self,
        shape: Shape,
        words: str = "",
        *,
        within: Sequence[str] = (),
        where: Mapping[str, str | int | bool] | None = None,
        facets: Sequence[str] = (),
        limit: int = 100,
    ) -> Found:
        """See FullText."""
        kinds = {column.name: column.kind for column in shape.columns}
        with _answering():
            index = self._index(shape)
            query = _query(index.schema, kinds, words, within, where or {})
            searcher = index.searcher()
            found = searcher.search(query, limit, count=True)
            counted = {
                name: searcher.aggregate(query, {"f": {"terms": {"field": name + EXACT, "size": 65_000}}})["f"]
                for name in facets
            }
            keys = [_key_of(searcher.doc(address)) for _, address in found.hits]
        counts = {name: {each["key"]: each["doc_count"] for each in said["buckets"]} for name, said in counted.items()}
        return Found(keys=keys, total=found.count, facets=counts)

    def _place(self, shape: Shape) -> Path:
        return self._root / quote(shape.into, safe="")

    def _index(self, shape: Shape) -> Any:
        if shape.into not in self._indexes:
            self._indexes[shape.into] = tantivy.Index.open(str(self._place(shape) / INDEX))
        self._indexes[shape.into].reload()
        return self._indexes[shape.into]

    @contextmanager
    def _writing(self, shape: Shape) -> Iterator[Any]:
        """The index's one writer; what it has not committed is as if it had not been."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                writer = self._index(shape).writer(WRITER_BYTES, 1)
                break
            except ValueError as error:
                if "LockBusy" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_SECONDS)
        try:
            yield writer
        finally:
            writer.wait_merging_threads()

    def _documents(self, shape: Shape, keys: Collection[Key]) -> list[tuple[Key, int, Values | None]]:
        """Key, version and values of the rows with these keys; deleted ones have no values."""
        index = self._index(shape)
        query = tantivy.Query.term_set_query(index.schema, KEY, [_hash(key) for key in keys])
        return list(_read(index.searcher(), query, len(keys)))

    def _all(self, shape: Shape) -> Iterator[tuple[Key, Values]]:
        with _answering():
            index = self._index(shape)
            searcher = index.searcher()
            query = tantivy.Query.term_query(index.schema, LIVE, True)
            for key, _, values in _read(searcher, query, searcher.num_docs):
                if values is not None:
                    yield key, values


def _schema(shape: Shape) -> Any:
    made = tantivy.SchemaBuilder()
    made.add_text_field(KEY, tokenizer_name="raw", index_option="basic")
    made.add_integer_field(VERSION, stored=True)
    made.add_boolean_field(LIVE, indexed=True)
    made.add_bytes_field(ROW, stored=True)
    for column in shape.columns:
        match column.kind:
            case Kind.INTEGER:
                made.add_integer_field(column.name, indexed=True, fast=True)
            case Kind.BOOLEAN:
                made.add_boolean_field(column.name, indexed=True, fast=True)
            case Kind.TEXT:
                made.add_text_field(column.name, tokenizer_name="default")
                made.add_text_field(column.name + EXACT, tokenizer_name="raw", fast=True, index_option="basic")
            case _:
                pass  # kept, not searched
    return made.build()


def _document(shape: Shape, row: VersionedRow) -> Any:
    made = tantivy.Document()
    made.add_text(KEY, _hash(row.key))
    made.add_integer(VERSION, row.version)
    made.add_boolean(LIVE, row.values is not None)
    values = row.values and tuple(
        None if value is None else canonical(column.kind, value)
        for column, value in zip(shape.columns, row.values, strict=True)
    )
    made.add_bytes(ROW, json.dumps([row.key, values]).encode())
    for column, value in zip(shape.columns, row.values or (), strict=row.values is not None):
        if value is not None:
            _add(made, column, value)
    return made


def _add(made: Any, column: Column, value: str) -> None:
    match column.kind:
        case Kind.INTEGER:
            made.add_integer(column.name, int(value))
        case Kind.BOOLEAN:
            made.add_boolean(column.name, value in ("t", "true"))
        case Kind.TEXT:
            made.add_text(column.name, value)
            made.add_text(column.name + EXACT, value)
        case _:
            pass


def _query(
    schema: Any,
    kinds: Mapping[str, Kind],
    words: str,
    within: Sequence[str],
    where: Mapping[str, str | int | bool],
) -> Any:
    must = [tantivy.Query.term_query(schema, LIVE, True)]
    for word in _analyzer().analyze(words):
        must.append(
            tantivy.Query.boolean_query(
                [(tantivy.Occur.Should, tantivy.Query.term_query(schema, name, word)) for name in within]
            )
        )
    for name, value in where.items():
        place = name + EXACT if kinds.get(name) is Kind.TEXT else name
        must.append(tantivy.Query.term_query(schema, place, value))
    return tantivy.Query.boolean_query([(tantivy.Occur.Must, each) for each in must])


def _analyzer() -> Any:
    """What the engine's `default` does to a text column."""
    made = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    return made.filter(tantivy.Filter.remove_long(40)).filter(tantivy.Filter.lowercase()).build()


def _read(searcher: Any, query: Any, limit: int) -> Iterator[tuple[Key, int, Values | None]]:
    for _, address in searcher.search(query, max(limit, 1), count=False).hits:
        found = searcher.doc(address)
        key, values = json.loads(bytes(found.get_first(ROW)))
        yield tuple(key), int(found.get_first(VERSION)), None if values is None else tuple(values)


def _key_of(found: Any) -> Key:
    return tuple(json.loads(bytes(found.get_first(ROW)))[0])


def _hash(key: Key) -> str:
    """A key as one term: the engine drops terms that are too long."""
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()


def _replace(place: Path, value: Any) -> None:
    """Write a small file whole, durably, or not at all."""
    new = place.with_suffix(".new")
    with new.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(place)
    directory = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise StoreError(
            f"the index failed ({type(error).__name__}): there is none yet, or others have been writing it for "
            f"{PATIENCE_SECONDS:g} seconds; run the same command again"
        ) from error
