"""Ask all shards at once and merge their answers, exactly once each row, even while a bucket moves.

Note [what a scatter sees]. While a bucket moves, its rows stand on two shards, and between flip and map on the wrong
one for our map. So each shard says, in the snapshot of its query, which buckets it serves; an answer counts only if
all shards together serve every bucket once, else all are asked again. A key between two regions has no epoch that two
shards could compare; so by geography the map is read before and after, and counts only if no key was on its way.
"""

import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

from django.db import connections, transaction

from migration_tools.errors import ShardingError
from migration_tools.sharding.declaration import Sharding, sharding
from migration_tools.sharding.mapping import Strategy
from migration_tools.sharding.maps import cached

SHARDS_AT_ONCE = 16
PATIENCE_SECONDS = 10.0
PAUSE_SECONDS = 0.005

_SERVED: LiteralString = "SELECT bucket FROM strangle_shard_hold WHERE map = %s AND state IN ('owned', 'leaving')"

# Given an alias and the buckets that count there, the rows in order; at most `limit` of them are taken.
Ask = Callable[[str, Sequence[int]], Iterable[Any]]


def scatter(
    name: str, ask: Ask, *, order: Callable[[Any], Any], descending: bool = False, limit: int | None = None
) -> list[Any]:
    """The rows of all shards in order; each shard gives its own first `limit`, so nobody sends more than that.

    Args:
        name: the map.
        ask: the query of one shard; it must be for the given buckets alone, and in `order` itself.
        order: a row's place, such as `lambda row: row.placed_at`.
        descending: whether `ask` gives the greatest first.
        limit: how many rows are wanted.

    Raises:
        ShardingError: for ten seconds no moment was found in which every bucket was served once.
    """
    declared = sharding(name)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        by_key = declared.strategy is Strategy.GEOGRAPHY
        current = cached(name).refresh() if by_key else cached(name).get()
        every = sorted(bucket.number for bucket in current.buckets)
        with ThreadPoolExecutor(min(len(declared.shards), SHARDS_AT_ONCE)) as pool:
            answers = list(pool.map(lambda alias: _one(declared, alias, ask, limit), _aliases(declared)))
        still = not by_key or (not current.between and cached(name).refresh().version == current.version)
        if still and sorted(itertools.chain.from_iterable(served for served, _ in answers)) == every:
            merged = heapq.merge(*(rows for _, rows in answers), key=order, reverse=descending)
            return list(itertools.islice(merged, limit))
        if time.monotonic() > deadline:
            raise ShardingError(
                f"the buckets of map {name!r} are not all served, or keys of it are between two regions; "
                f"strangle_shard show {name}, strangle_sagas list"
            )
        time.sleep(PAUSE_SECONDS)
        cached(name).refresh()


def _aliases(declared: Sharding) -> list[str]:
    return [shard.alias for shard in declared.shards.values()]


def _one(declared: Sharding, alias: str, ask: Ask, limit: int | None) -> tuple[list[int], list[Any]]:
    """What one shard serves and has, in one snapshot; a connection of the pool's thread, closed after it."""
    try:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(_SERVED, [declared.name])
            served = [bucket for (bucket,) in cursor.fetchall()]
            return served, list(itertools.islice(ask(alias, served), limit))
    finally:
        connections[alias].close()
