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
from migration_tools.projections.columns import Column, Largest, Latest, Steps
from migration_tools.projections.declaration import Change, Put, ReadModel, Table
from migration_tools.projections.merging import Row, WrongValue, gone, put, typed
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
                table = self._table(change.table)
                self._merge(table, slot, change, stream, position)
            if shown and self._redis.get(self._pointer()) != str(slot.number):
                # A swap that was cut off before it could say so, or a Redis that was emptied.
                self.show(slot.number)

    def read(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """See Elsewhere."""
        declared = self._table(table)
        with self._answering():
            slot = self._redis.get(self._pointer())
            text = self._redis.get(self._place(declared, int(slot or 0), key))
        row = _decoded(declared, text)
        return {**key, **row.values} if row.present else None

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
                if isinstance(change, Put):
                    after = put(table, before, change.values, stream=stream, position=position, erases=True)
                else:
                    after = gone(before, erases=True)
                if after == before:
                    return
                pipe.multi()
                pipe.set(place, _encoded(after))
                try:
                    pipe.execute()
                except redis.WatchError:
                    continue
                return
        raise StoreError(f"a row of {table.name!r} was written by others {ATTEMPTS} times; try again")

    def _table(self, name: str) -> Table:
        try:
            return self.model.table(name)
        except KeyError:
            raise WrongValue(f"read model {self.model.name!r} has no table {name!r}") from None

    def _place(self, table: Table, number: int, key: Mapping[str, Any]) -> str:
        if set(key) != set(table.key):
            raise WrongValue(f"the key of {table.name!r} is {sorted(table.key)}, but {sorted(key)} were said")
        parts = [str(typed(table, name, kind, key[name])) for name, kind in table.key.items()]
        return _prefix(table, number) + ":".join(quote(part, safe="") for part in parts)

    def _pointer(self) -> str:
        return f"strangle:{self.model.name}:live"


def _prefix(table: Table, number: int) -> str:
    return f"{table.name}:s{number}:"


def _encoded(row: Row) -> str:
    return json.dumps(
        {"values": row.values, "versions": row.versions, "seen": row.seen, "gone": row.gone}, default=_text
    )


def _decoded(table: Table, text: str | None) -> Row:
    if text is None:
        return Row()
    held = json.loads(text)
    values = {
        name: typed(table, name, _kind(table.columns[name]), value)
        for name, value in held["values"].items()
        if name in table.columns
    }
    return Row(values=values, versions=held["versions"], seen=held["seen"], gone=held["gone"])


def _kind(column: Column) -> str:
    assert isinstance(column, Latest | Steps | Largest)  # noqa: S101  (others are refused by validation)
    return column.type


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
