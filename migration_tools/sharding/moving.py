"""Move a bucket to another shard while it is written: note what is touched, copy, catch up, close there, open here.

Note [moving a bucket]. The order is that of a hand-over. First the source notes every touched key; its exclusive lock
is had once, so no writer is under way who does not. Then all rows are copied, and touched keys are carried over by
re-reading them, until few are left. Behind the exclusive lock the rest is carried over and the source's epoch ends:
nobody serves the bucket. Then the target serves it, then the map says so. Killed anywhere, the same command goes on:
before the flip it copies anew, after it it opens and publishes. There are never two who serve.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, LiteralString

from migration_tools.conf import settings
from migration_tools.errors import ShardingError
from migration_tools.kernel import points
from migration_tools.kernel.locks import LockClass
from migration_tools.kernel.watch import UNWATCHED, Watch
from migration_tools.sharding import keys
from migration_tools.sharding.declaration import Shard, Sharding, sharding
from migration_tools.sharding.locking import behind
from migration_tools.sharding.mapping import Bucket
from migration_tools.sharding.maps import publish, read_map
from migration_tools.sharding.rows import apply_keys, copy_bucket, count_bucket, delete_bucket
from migration_tools.stores.postgres import Connection, advisory, connect, transaction

FEW = 100
TOUCHED_AT_ONCE = 5000

_LOCK: LiteralString = "SELECT pg_advisory_xact_lock(%s, hashtext(%s || ':' || %s))"
HOLD: LiteralString = """
    INSERT INTO strangle_shard_hold (map, bucket, epoch, state, moved_to) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (map, bucket) DO UPDATE SET epoch = EXCLUDED.epoch, state = EXCLUDED.state,
        moved_to = EXCLUDED.moved_to"""
_TOUCHED: LiteralString = """
    DELETE FROM strangle_shard_touched WHERE id IN (
        SELECT id FROM strangle_shard_touched WHERE map = %s AND bucket = %s ORDER BY id LIMIT %s)
    RETURNING table_name, key"""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What a move did; `held_seconds` is how long the bucket's writers were held."""

    bucket: int
    source: str
    target: str
    epoch: int
    rows: int
    held_seconds: float


@dataclass(frozen=True, kw_only=True)
class _Road:
    declared: Sharding
    bucket: Bucket
    source: Connection
    target: Connection
    to: Shard


def move(name: str, number: int, to: str, *, watch: Watch = UNWATCHED) -> Moved:
    """Move a bucket; repeated after a crash it goes on, repeated after its end it changes nothing.

    Told to stop, it does so while rows are copied or removed, never between the two who serve.

    Raises:
        ShardingError: the target is unknown or of another region, or another move of this bucket is under way.
        FenceBusy: the bucket's lock was not had; it is served where it was.
        Interrupted: `watch` said so.
    """
    declared = sharding(name)
    bucket, target = read_map(name).by_number(number), declared.shard(to)
    if bucket.region and bucket.region != target.region:
        raise ShardingError(
            f"bucket {number} holds region {bucket.region!r}; shard {to!r} is of {target.region!r}; its rows stay"
        )
    if bucket.shard == to:
        _sweep(declared, bucket, watch)
        return Moved(bucket=number, source=to, target=to, epoch=bucket.epoch, rows=0, held_seconds=0.0)
    with _road(declared, bucket, target) as road:
        rows, held = 0, 0.0
        if state_of(road.source, name, number) not in ("gone", None):
            _begin(road)
            points.reached("sharding.begun")
            rows = _copy(road, watch)
            points.reached("sharding.copied")
            while _carry(road, TOUCHED_AT_ONCE) > FEW:
                watch.heed(_still(road))
            watch.heed(_still(road))
            held = _flip(road)
        points.reached("sharding.closed")
        epoch = bucket.epoch + 1
        road.target.execute(HOLD, [name, number, epoch, "owned", ""])
        points.reached("sharding.opened")
        publish(name, replace(bucket, shard=to, epoch=epoch))
        points.reached("sharding.published")
        delete_bucket(road.source, declared, number, partial(watch.heed, _left_behind(name, number, to, bucket.shard)))
    return Moved(bucket=number, source=bucket.shard, target=to, epoch=epoch, rows=rows, held_seconds=held)


def hold_all(name: str) -> None:
    """Let each shard serve what the map says, for a map that is new: install first, then this."""
    declared, current = sharding(name), read_map(name)
    for shard in declared.shards.values():
        with connect(shard.alias, "shard") as conn, transaction(conn):
            for bucket in current.buckets:
                if bucket.shard == shard.name:
                    conn.execute(HOLD, [name, bucket.number, bucket.epoch, "owned", ""])


def _copy(road: _Road, watch: Watch) -> int:
    name, number = road.declared.name, road.bucket.number
    total = count_bucket(road.source, road.declared, number)
    with watch.progress(f"copy bucket {number} of {name!r} to {road.to.name!r}", total) as bar:

        def passed(rows: int) -> None:
            bar.advance(rows)
            watch.heed(_still(road))

        return copy_bucket(road.source, road.target, road.declared, number, passed)


def _still(road: _Road) -> str:
    bucket = road.bucket
    return (
        f"stopped; bucket {bucket.number} of map {road.declared.name!r} is served by {bucket.shard!r} as before. Run "
        "the same command again to move it"
    )


def _left_behind(name: str, number: int, to: str, source: str) -> str:
    return (
        f"stopped; bucket {number} of map {name!r} is served by {to!r}, and rows of it are left on {source!r}, which "
        f"nobody sees. strangle_shard move {name} {number} --to {to} removes them"
    )


def _sweep(declared: Sharding, bucket: Bucket, watch: Watch) -> None:
    """Remove the rows that a move left behind which was killed after the map knew of it."""
    for shard in declared.shards.values():
        if shard.name != bucket.shard:
            with connect(shard.alias, "shard") as conn:
                if state_of(conn, declared.name, bucket.number) == "gone":
                    told = _left_behind(declared.name, bucket.number, bucket.shard, shard.name)
                    delete_bucket(conn, declared, bucket.number, partial(watch.heed, told))


@contextmanager
def _road(declared: Sharding, bucket: Bucket, to: Shard) -> Iterator[_Road]:
    own = declared.shard(bucket.shard)
    lock = f"shard {declared.name} {bucket.number}"
    with (
        connect(settings().DATABASE, "shard") as home,
        connect(own.alias, "shard") as source,
        connect(to.alias, "shard") as target,
    ):
        if not advisory.try_hold(home, LockClass.OPERATOR, lock):
            who = advisory.holder(home, LockClass.OPERATOR, lock)
            raise ShardingError(f"bucket {bucket.number} of map {declared.name!r} is moved by {who} now")
        yield _Road(declared=declared, bucket=bucket, source=source, target=target, to=to)


def state_of(conn: Connection, name: str, number: int) -> str | None:
    row = conn.execute(
        "SELECT state FROM strangle_shard_hold WHERE map = %s AND bucket = %s", [name, number]
    ).fetchone()
    return str(row[0]) if row else None


def _begin(road: _Road) -> None:
    """Let the source note what is touched from now on; behind its lock nobody writes who does not."""
    name, bucket = road.declared.name, road.bucket
    road.target.execute(HOLD, [name, bucket.number, bucket.epoch, "arriving", ""])
    with held(road.source, name, bucket.number):
        keys.refuse_under_way(road.source, name, bucket.number)
        road.source.execute("DELETE FROM strangle_shard_touched WHERE map = %s AND bucket = %s", [name, bucket.number])
        road.source.execute(HOLD, [name, bucket.number, bucket.epoch, "leaving", road.to.name])


def _flip(road: _Road) -> float:
    """Carry the rest over and end the source's epoch, in one transaction behind the lock."""
    name, bucket = road.declared.name, road.bucket
    with held(road.source, name, bucket.number) as since:
        while _take_touched(road, TOUCHED_AT_ONCE):
            pass
        keys.carry(road.source, road.target, name, bucket.number)
        points.reached("sharding.drained")
        road.source.execute(HOLD, [name, bucket.number, bucket.epoch + 1, "gone", road.to.name])
    return time.monotonic() - since


@contextmanager
def held(conn: Connection, name: str, *numbers: int) -> Iterator[float]:
    """Hold buckets' locks exclusively for a transaction; waits in short turns, so that writers queue for none.

    Raises:
        FenceBusy: not within CUTOVER_BUDGET_SECONDS; nothing was changed.
    """

    def take() -> None:
        for number in sorted(numbers):
            conn.execute(_LOCK, [int(LockClass.SHARD), name, number])

    with behind(conn, take, f"bucket {numbers} of map {name!r}") as since:
        yield since


def _carry(road: _Road, at_most: int) -> int:
    with transaction(road.source):
        return _take_touched(road, at_most)


def _take_touched(road: _Road, at_most: int) -> int:
    """Carry touched keys over by their rows as they are now; the notes go with the source's transaction, after it."""
    name, number = road.declared.name, road.bucket.number
    noted: Sequence[tuple[Any, ...]] = road.source.execute(_TOUCHED, [name, number, at_most]).fetchall()
    keys: dict[str, set[str]] = {}
    for table, key in noted:
        keys.setdefault(str(table), set()).add(str(key))
    if keys:
        apply_keys(road.source, road.target, road.declared, number, keys)
    return len(noted)
