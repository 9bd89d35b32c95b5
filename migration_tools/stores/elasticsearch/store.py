"""Elasticsearch or OpenSearch as a replica's store: one document a row, under a version that the engine compares.

Note [versions of documents]. A row's version is the document's own, given from outside (`external_gte`): the engine
lets an equal or newer one in and refuses an older one, for each document of a bulk by itself. A row that is no more is
a document too, without columns and not `live`, because of a deleted document the engine forgets the version after
`index.gc_deletes`, a minute: an older row that arrived later would be let in and stay. Searches leave these out.

What is read by key is what was written last. Searches see it after a refresh, so comparing begins with one.
"""

import json
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from migration_tools.errors import StoreAway, StoreError
from migration_tools.stores.canonical import Digests, RowHash, bucket_of, digest_rows, row_hash
from migration_tools.stores.elasticsearch.documents import (
    ID,
    LIVE,
    OURS,
    SETTINGS,
    columns,
    document,
    identity,
    index_of,
    is_live,
    mapping,
    term_field,
    values_of,
)
from migration_tools.stores.elasticsearch.wire import CONFLICT, PASSING, Cluster, described, escaped
from migration_tools.stores.full_text import Found
from migration_tools.stores.ports import Held, Key, Progress, Shape, Values, VersionedRow, newest

PROGRESS = "strangle-replica"
BULK_BYTES = 5_000_000
ROWS_AT_ONCE = 1_000
FACET_VALUES = 65_000
LARGEST_LIMIT = 10_000


class ElasticsearchStore:
    """The Store over the cluster that `url` names, one index for each replica."""

    def __init__(self, url: str):
        self._cluster = Cluster(url)

    def prepare(self, shape: Shape) -> None:
        """See Store; an index of other columns is refused, and so is a column named like what is kept beside a row."""
        reserved = sorted(
            c.name for c in shape.columns if c.name == OURS or not c.name or c.name[0] == "_" or "." in c.name
        )
        if reserved:
            raise StoreError(f"columns {reserved} are named as no field of a document may be; leave them out")
        self._cluster.make(PROGRESS, {"mappings": {"dynamic": False}})
        index = index_of(shape.into)
        if self._cluster.make(index, {"settings": SETTINGS, "mappings": mapping(shape)}):
            return
        _, found = self._cluster.ask("GET", f"/{escaped(index)}/_mapping")
        kept = [each["mappings"].get("_meta", {}).get("columns") for each in found.values()]
        if kept != [columns(shape)]:
            raise StoreError(f"the index {index!r} has other columns; drop the replica, then copy anew")

    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        """See Store and Note [versions of documents]; what was refused of a bulk says so after the rest was taken."""
        if not rows:
            return
        # A bulk would make an index that is gone, with a mapping of its own guessing.
        self._present(shape)
        lines, size = list[str](), 0
        for row in newest(rows):
            line = _lines(shape, row)
            if lines and size + len(line) > BULK_BYTES:
                self._send(shape, lines)
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        self._send(shape, lines)

    def read(self, shape: Shape, keys: Collection[Key]) -> dict[Key, Held]:
        """See Store."""
        found: dict[Key, Held] = {}
        waiting = iter(keys)
        while some := {identity(key): key for key in islice(waiting, ROWS_AT_ONCE)}:
            _, answer = self._cluster.ask("POST", f"{_path(shape)}/_mget", {"ids": list(some)})
            for each in answer["docs"]:
                if "error" in each:
                    raise StoreError(f"Elasticsearch refused: {described(404, each)}")
                if each["found"] and is_live(each["_source"]):
                    held = Held(version=each["_version"], values=values_of(shape, each["_source"]))
                    found[some[each["_id"]]] = held
        return found

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
        status, found = self._cluster.ask("GET", _progress(shape), expecting={404})
        if status == 404:
            return None
        kept = json.loads(found["_source"]["progress"])
        return Progress(**{**kept, "upto": None if kept["upto"] is None else tuple(kept["upto"])})

    def remember(self, shape: Shape, progress: Progress) -> None:
        """See Store."""
        self._cluster.ask("PUT", _progress(shape), {"progress": json.dumps(asdict(progress))})

    def drop(self, shape: Shape) -> None:
        """See Store."""
        self._cluster.ask("DELETE", _path(shape), expecting={404})
        self._cluster.ask("DELETE", _progress(shape), expecting={404})

    def close(self) -> None:
        """See Store."""
        self._cluster.close()

    def refresh(self, shape: Shape) -> None:
        """Let searches see what was written; of itself the engine does so every second."""
        self._cluster.refresh(escaped(index_of(shape.into)))

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
        """See FullText; of what was written since the last refresh nothing is found. `limit` is 10,000 at most."""
        fields = {column.name: term_field(column) for column in shape.columns}
        unknown = sorted(name for name in (*within, *(where or {}), *facets) if fields.get(name) is None)
        if unknown:
            raise StoreError(f"the index is not searched by {unknown}; by {sorted(n for n, f in fields.items() if f)}")
        if limit > LARGEST_LIMIT:
            raise StoreError(f"a search gives {LARGEST_LIMIT:,} rows at most, not {limit:,}")
        must = []
        if any(unicodedata.category(each)[0] in "LMN" for each in words):
            must = [
                {"multi_match": {"query": words, "fields": list(within), "type": "cross_fields", "operator": "and"}}
            ]
        body = {
            "query": {
                "bool": {
                    "must": must,
                    "must_not": [{"term": {LIVE: False}}],
                    "filter": [{"term": {fields[name]: value}} for name, value in (where or {}).items()],
                }
            },
            "aggs": {name: {"terms": {"field": fields[name], "size": FACET_VALUES}} for name in facets},
            "_source": [f"{OURS}.key"],
            "size": limit,
            "track_total_hits": True,
        }
        found = self._cluster.search(escaped(index_of(shape.into)), body)
        return Found(
            keys=[tuple(hit["_source"][OURS]["key"]) for hit in found["hits"]["hits"]],
            total=found["hits"]["total"]["value"],
            facets={name: _counts(name, found["aggregations"][name]) for name in facets},
        )

    def _present(self, shape: Shape) -> None:
        status, _ = self._cluster.ask("HEAD", _path(shape), expecting={404})
        if status == 404:
            raise StoreError(f"there is no index {index_of(shape.into)!r}; drop the replica, then copy anew")

    def _send(self, shape: Shape, lines: Sequence[str]) -> None:
        _, answer = self._cluster.ask("POST", f"{_path(shape)}/_bulk", "".join(lines))
        if not answer["errors"]:
            return
        # An older version than is held is what the version rule refuses.
        refused = [
            each
            for item in answer["items"]
            for each in item.values()
            if each["status"] >= 300 and each.get("error", {}).get("type") != CONFLICT
        ]
        if not refused:
            return
        named = [column.name for column in shape.columns]
        kinds = sorted({described(each["status"], each, named) for each in refused})
        if all(each["status"] in PASSING for each in refused):
            raise StoreAway(f"Elasticsearch cannot take {len(refused)} rows now: {kinds}; run the same command again")
        raise StoreError(f"Elasticsearch refused {len(refused)} rows of {len(lines)}: {kinds}")

    def _all(self, shape: Shape) -> Iterator[tuple[Key, Values]]:
        """Every row, by pages in the order of their ids, which do not change while others write."""
        index = escaped(index_of(shape.into))
        self._cluster.refresh(index)
        page: dict[str, Any] = {
            "query": {"bool": {"must_not": [{"term": {LIVE: False}}]}},
            "sort": [{ID: "asc"}],
            "size": ROWS_AT_ONCE,
            "track_total_hits": False,
        }
        while hits := self._cluster.search(index, page)["hits"]["hits"]:
            for hit in hits:
                if hit["sort"][0] is None:
                    raise StoreError(
                        f"the index {index_of(shape.into)!r} has documents that are none of the replica's; delete "
                        f"what has no field {ID!r}, or drop the replica, then copy anew"
                    )
                yield tuple(hit["_source"][OURS]["key"]), values_of(shape, hit["_source"])
            page["search_after"] = hits[-1]["sort"]


def _lines(shape: Shape, row: VersionedRow) -> str:
    action = {"index": {"_id": identity(row.key), "version": row.version, "version_type": "external_gte"}}
    return "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in (action, document(shape, row)))


def _counts(name: str, facet: Mapping[str, Any]) -> dict[str, int]:
    if facet["sum_other_doc_count"]:
        raise StoreError(f"the facet {name!r} has more than {FACET_VALUES:,} values")
    return {str(each["key"]): each["doc_count"] for each in facet["buckets"]}


def _path(shape: Shape) -> str:
    return f"/{escaped(index_of(shape.into))}"


def _progress(shape: Shape) -> str:
    return f"/{PROGRESS}/_doc/{escaped(shape.name)}"
