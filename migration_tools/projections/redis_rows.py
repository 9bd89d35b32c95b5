"""A read model in Redis: one JSON document a row, merged under WATCH, and one key that says which slot readers see.

Note [rows outside the database]. The position cannot move in the transaction of these rows. They are written first, and
the position with the inbox's commit. What is cut off between is delivered again, and changes nothing: rows merge by
versions (see [a row is a join]). So nothing is lost and nothing counts twice, but readers may see an event a moment
before the position has moved. A Redis that lost its memory is filled by a rebuild.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import redis

from migration_tools.errors import StoreAway, StoreError
from migration_tools.projections.declaration import Change, ReadModel, Table
from migration_tools.projections.documents import changed, from_document, key_parts, table_of, to_document
from migration_tools.projections.merging import Row
from migration_tools.projections.slots import Slot

ATTEMPTS = 50
SCAN_ROWS = 1_000


class RedisRows:
    """The rows of one read model in one Redis; see projections.elsewhere."""

    def __init__(self, model: ReadModel, url: str):
        self.model = model
        self._redis: Any = redis.Redis.from_url(url, decode_responses=True, socket_connect_timeout=5)

    def apply(self, slot: Slot, changes: Iterable[Change], *, stream: str, position: int, shown: bool) -> None:
        """See Elsewhere."""
        with self._answering():
            for change in changes:
                table = table_of(self.model, change.table)
                self._merge(table, slot, change, stream, position)
            if shown and self._redis.get(self._pointer()) != str(slot.number):
                # A swap that was cut off before it could say so, or a Redis that was emptied.
                self.show(slot.number)

    def read(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """See Elsewhere."""
        declared = table_of(self.model, table)
        with self._answering():
            for _ in range(ATTEMPTS):
                slot = self._redis.get(self._pointer())
                text = self._redis.get(self._place(declared, int(slot or 0), key))
                # A slot is dropped only after the pointer has left it.
                if self._redis.get(self._pointer()) == slot:
                    row = _decoded(declared, text)
                    return {**key, **row.values} if row.present else None
        raise StoreError(f"the slots of {self.model.name!r} were swapped {ATTEMPTS} times while it was read; try again")

    def show(self, number: int) -> None:
        """See Elsewhere."""
        self._redis.set(self._pointer(), str(number))

    def drop(self, number: int) -> None:
        """See Elsewhere."""
        for table in self.model.tables:
            found = list(self._redis.scan_iter(match=f"{_prefix(table, number)}*", count=SCAN_ROWS))
            for at in range(0, len(found), SCAN_ROWS):
                self._redis.unlink(*found[at : at + SCAN_ROWS])

    def close(self) -> None:
        """See Elsewhere."""
        self._redis.close()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise StoreAway(f"store {self.model.store!r}: Redis does not answer; nothing is lost") from error
        except redis.RedisError as error:
            raise StoreError(f"store {self.model.store!r} failed: {type(error).__name__}; nothing is lost") from error

    def _merge(self, table: Table, slot: Slot, change: Change, stream: str, position: int) -> None:
        place = self._place(table, slot.number, change.key)
        with self._redis.pipeline() as pipe:
            for _ in range(ATTEMPTS):
                pipe.watch(place)
                before = _decoded(table, pipe.get(place))
                after = changed(table, before, change, stream=stream, position=position)
                if after == before:
                    return
                pipe.multi()
                pipe.set(place, json.dumps(to_document(after)))
                try:
                    pipe.execute()
                except redis.WatchError:
                    continue
                return
        raise StoreError(f"a row of {table.name!r} was written by others {ATTEMPTS} times; try again")

    def _place(self, table: Table, number: int, key: Mapping[str, Any]) -> str:
        return _prefix(table, number) + ":".join(quote(part, safe="") for part in key_parts(table, key))

    def _pointer(self) -> str:
        return f"strangle:{self.model.name}:live"


def _prefix(table: Table, number: int) -> str:
    return f"{table.name}:s{number}:"


def _decoded(table: Table, text: str | None) -> Row:
    return Row() if text is None else from_document(table, json.loads(text))
