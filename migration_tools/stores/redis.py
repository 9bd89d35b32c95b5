"""Redis as a replica's store: one key a row, as a hash or as JSON, replaced whole by a script that compares versions.

The versions stand in one hash beside the rows, tombstones included, so the rows hold what the projection says and
nothing else. Digests are computed here, from everything that is under the template: Redis has no means to.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from string import Formatter
from typing import Any
from urllib.parse import quote, unquote

import redis

from migration_tools.errors import StoreError
from migration_tools.stores.canonical import Digests, RowHash, bucket_of, digest_rows, row_hash
from migration_tools.stores.json_values import canonical_or_foreign, from_json, to_json
from migration_tools.stores.ports import Held, Key, Progress, Shape, Values, VersionedRow, newest

ROWS_AT_ONCE = 500
SCAN_ROWS = 1_000
FORMS = ("hash", "json")

# Redis runs a script alone, so readers never see half a row; DEL also heals a key of another type.
_UPSERT = """
for _, row in ipairs(cjson.decode(ARGV[1])) do
    local held = redis.call('HGET', KEYS[1], row[1])
    if not held or tonumber(held) <= tonumber(row[2]) then
        redis.call('DEL', row[1])
        if row[3] then
            if ARGV[2] == 'hash' then
                redis.call('HSET', row[1], unpack(row[3]))
            else
                redis.call('SET', row[1], row[3])
            end
        end
        redis.call('HSET', KEYS[1], row[1], row[2])
    end
end
"""


class RedisStore:
    """The Store over one Redis; `form` says how a row is kept.

    As a hash every field is PostgreSQL's text and NULL is no field; as JSON integers and booleans are JSON's own and
    everything else is text. Not for a Redis Cluster: a script touches keys of several slots.
    """

    def __init__(self, url: str, *, form: str = "hash"):
        if form not in FORMS:
            raise StoreError(f"a Redis store keeps rows as {' or '.join(map(repr, FORMS))}, not {form!r}")
        self._form = form
        self._redis: Any = redis.Redis.from_url(url, decode_responses=True, socket_connect_timeout=5)
        self._upsert = self._redis.register_script(_UPSERT)

    def prepare(self, shape: Shape) -> None:
        """See Store; nothing to make, only the template to check."""
        names = [name for _, name, _, _ in Formatter().parse(shape.into) if name is not None]
        if sorted(names) != sorted(shape.key) or not re.match(r"[^{]", shape.into):
            raise StoreError(
                f"{shape.into!r} must begin with a word and name each key column once, such as "
                f"'order:{':'.join('{' + name + '}' for name in shape.key)}'"
            )
        with _answering():
            self._redis.ping()

    def upsert(self, shape: Shape, rows: Sequence[VersionedRow]) -> None:
        """See Store; atomic by ROWS_AT_ONCE."""
        kept = newest(rows)
        with _answering():
            for at in range(0, len(kept), ROWS_AT_ONCE):
                document = [
                    [_place(shape, row.key), str(row.version), self._written(shape, row.values)]
                    for row in kept[at : at + ROWS_AT_ONCE]
                ]
                self._upsert(keys=[_versions(shape)], args=[json.dumps(document, ensure_ascii=False), self._form])

    def read(self, shape: Shape, keys: Collection[Key]) -> dict[Key, Held]:
        """See Store."""
        found: dict[Key, Held] = {}
        for key, version, values in self._rows(shape, [_place(shape, key) for key in keys]):
            found[key] = Held(version=version, values=values)
        return found

    def digest(self, shape: Shape, buckets: int) -> Digests:
        """See Store; every row travels to this process."""
        return digest_rows(((key, values) for key, _, values in self._all(shape)), buckets)

    def scan(self, shape: Shape, buckets: int, wanted: Collection[int]) -> Iterator[tuple[Key, RowHash]]:
        """See Store; every row travels to this process."""
        chosen = set(wanted)
        for key, _, values in self._all(shape):
            if bucket_of(key, buckets) in chosen:
                yield key, row_hash(values)

    def progress(self, shape: Shape) -> Progress | None:
        """See Store."""
        with _answering():
            text = self._redis.get(_progress(shape))
        if text is None:
            return None
        document = json.loads(text)
        return Progress(**{**document, "upto": None if document["upto"] is None else tuple(document["upto"])})

    def remember(self, shape: Shape, progress: Progress) -> None:
        """See Store."""
        with _answering():
            self._redis.set(_progress(shape), json.dumps(asdict(progress)))

    def drop(self, shape: Shape) -> None:
        """See Store."""
        with _answering():
            self._redis.delete(_progress(shape))
            for places in self._places(shape):
                self._redis.unlink(*places)
            self._redis.unlink(_versions(shape))

    def close(self) -> None:
        """See Store."""
        self._redis.close()

    def _written(self, shape: Shape, values: Values | None) -> object:
        if values is None:
            return False
        pairs = zip(shape.columns, values, strict=True)
        if self._form == "json":
            return json.dumps({column.name: to_json(column, value) for column, value in pairs}, ensure_ascii=False)
        return [part for column, value in pairs if value is not None for part in (column.name, value)]

    def _all(self, shape: Shape) -> Iterator[tuple[Key, int, Values]]:
        for places in self._places(shape):
            yield from self._rows(shape, places)

    def _places(self, shape: Shape) -> Iterator[list[str]]:
        """Every Redis key under the template, some at a time, none twice."""
        pattern = _pattern(shape)
        seen: set[str] = set()
        cursor = 0
        while True:
            with _answering():
                cursor, found = self._redis.scan(cursor, match=_glob(shape), count=SCAN_ROWS)
            fresh = [place for place in dict.fromkeys(found) if pattern.match(place) and place not in seen]
            seen.update(fresh)
            if fresh:
                yield fresh
            if cursor == 0:
                return

    def _rows(self, shape: Shape, places: Sequence[str]) -> Iterator[tuple[Key, int, Values]]:
        if not places:
            return
        pattern = _pattern(shape)
        with _answering():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hmget(_versions(shape), list(places))
            for place in places:
                if self._form == "json":
                    pipe.get(place)
                else:
                    pipe.hgetall(place)
            versions, *rows = pipe.execute(raise_on_error=False)
        for place, version, row in zip(places, versions, rows, strict=True):
            match = pattern.match(place)
            if row and match is not None:
                groups = [unquote(match[f"k{number}"]) for number in range(len(shape.key))]
                yield tuple(groups), int(version or 0), self._read(shape, row)

    def _read(self, shape: Shape, row: Any) -> Values:
        """The canonical values of what stands under a key; a foreign thing there has values that no row has."""
        if isinstance(row, Exception):
            return tuple("(a key of another type)" for _ in shape.columns)
        if self._form == "hash":
            return tuple(canonical_or_foreign(column, row.get(column.name)) for column in shape.columns)
        try:
            document = json.loads(row)
            return tuple(from_json(column, document.get(column.name)) for column in shape.columns)
        except (ValueError, AttributeError):
            return tuple("(no JSON object)" for _ in shape.columns)


def _place(shape: Shape, key: Iterable[str]) -> str:
    """The Redis key of a row; parts are percent-encoded, so that no two keys meet in one place."""
    return shape.into.format(**{name: quote(part, safe="") for name, part in zip(shape.key, key, strict=True)})


def _pattern(shape: Shape) -> re.Pattern[str]:
    parts = [
        re.escape(text) + ("" if name is None else f"(?P<k{shape.key.index(name)}>[A-Za-z0-9%_.~-]*)")
        for text, name, _, _ in Formatter().parse(shape.into)
    ]
    return re.compile("".join(parts) + r"\Z")


def _glob(shape: Shape) -> str:
    return "".join(
        re.sub(r"([*?\[\]\\^])", r"\\\1", text) + ("" if name is None else "*")
        for text, name, _, _ in Formatter().parse(shape.into)
    )


def _versions(shape: Shape) -> str:
    return f"strangle:{shape.name}:versions"


def _progress(shape: Shape) -> str:
    return f"strangle:{shape.name}:progress"


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except redis.exceptions.ResponseError as error:
        # A script's error may quote what it was given: only the first word is Redis's own.
        raise StoreError(f"Redis refused: {str(error).split(' ', 1)[0]}") from error
    except redis.exceptions.RedisError as error:
        raise StoreError(
            f"Redis does not answer ({type(error).__name__}); start it, then run the same command again"
        ) from error
