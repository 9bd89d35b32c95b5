"""The map as it is kept on one database, and as each process keeps it: asked for again when a shard refuses."""

import threading
import time
from collections.abc import Callable
from typing import Any, LiteralString

from django.db import connections, transaction

from migration_tools.conf import settings
from migration_tools.errors import ShardingError
from migration_tools.sharding.mapping import Bucket, ShardMap, Strategy

_READ: LiteralString = """
    SELECT m.strategy, m.version, (SELECT count(*) FROM strangle_shard_home h WHERE h.map = m.name AND NOT h.settled),
        b.bucket, b.shard, b.epoch, b.low, b.region
    FROM strangle_shard_map m JOIN strangle_shard_bucket b ON b.map = m.name WHERE m.name = %s
    ORDER BY b.low NULLS FIRST, b.bucket"""
_PLACE: LiteralString = """
    INSERT INTO strangle_shard_bucket (map, bucket, shard, epoch, low, region) VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (map, bucket) DO UPDATE SET shard = EXCLUDED.shard, epoch = EXCLUDED.epoch, low = EXCLUDED.low"""
FRESH_SECONDS = 30.0


def read_map(name: str) -> ShardMap:
    """The map as it is now; one query, so one version.

    Raises:
        ShardingError: there is none yet.
    """
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_READ, [name])
        rows = cursor.fetchall()
    if not rows:
        raise ShardingError(f"there is no map {name!r} yet; strangle_shard init {name} makes it")
    buckets = tuple(
        Bucket(number=number, shard=shard, epoch=epoch, low=low, region=region)
        for _, _, _, number, shard, epoch, low, region in rows
    )
    strategy, version, between = rows[0][:3]
    return ShardMap(name=name, strategy=Strategy(strategy), version=version, buckets=buckets, between=between)


def write_map(made: ShardMap) -> None:
    """Keep a first map.

    Raises:
        ShardingError: there is one already.
    """
    with transaction.atomic(using=settings().DATABASE), connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(
            "INSERT INTO strangle_shard_map (name, strategy, version) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [made.name, made.strategy.value, made.version],
        )
        if not cursor.rowcount:
            raise ShardingError(f"there is a map {made.name!r} already; strangle_shard show {made.name}")
        _place(cursor, made.name, *made.buckets)


def publish(name: str, *buckets: Bucket, without: int | None = None) -> None:
    """Put buckets where they are now, and take one away, in one version more; may be repeated."""
    with transaction.atomic(using=settings().DATABASE), connections[settings().DATABASE].cursor() as cursor:
        cursor.execute("UPDATE strangle_shard_map SET version = version + 1 WHERE name = %s", [name])
        cursor.execute("DELETE FROM strangle_shard_bucket WHERE map = %s AND bucket = %s", [name, without])
        _place(cursor, name, *buckets)


def _place(cursor: Any, name: str, *buckets: Bucket) -> None:
    cursor.executemany(_PLACE, [[name, b.number, b.shard, b.epoch, b.low, b.region] for b in buckets])


class CachedMap:
    """A map in one process: asked for when it is old, or when a shard said that it is."""

    def __init__(self, name: str, fetch: Callable[[], ShardMap] | None = None):
        self.name = name
        self._fetch = fetch or (lambda: read_map(name))
        self._lock = threading.Lock()
        self._map: ShardMap | None = None
        self._since = 0.0

    def get(self) -> ShardMap:
        """The map, at most FRESH_SECONDS old."""
        if self._map is None or time.monotonic() - self._since > FRESH_SECONDS:
            return self.refresh()
        return self._map

    def refresh(self) -> ShardMap:
        """The map as it is now; an answer older than what is known is not taken."""
        fetched = self._fetch()
        with self._lock:
            if self._map is None or fetched.version >= self._map.version:
                self._map, self._since = fetched, time.monotonic()
            return self._map


_maps: dict[str, CachedMap] = {}


def cached(name: str) -> CachedMap:
    """This process's copy of a map."""
    return _maps.setdefault(name, CachedMap(name))
