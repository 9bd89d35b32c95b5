"""The shard map as a value: which bucket a key is in, which buckets move when a shard comes or a range is cut; pure.

Note [virtual buckets]. Keys belong to buckets for good, buckets to shards for a while. With `hash(key) % shards` one
more shard moves almost every key; here it takes just as many buckets as it is to have, and no other key moves. The hash
is xxh64 of the key's text: Python's own differs from process to process.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from migration_tools.errors import ShardingError

LOWEST = -(1 << 63)


class Strategy(StrEnum):
    """How a key finds its bucket."""

    HASH = "hash"  # by xxh64: even, no ranges
    RANGE = "range"  # by the integer key's range: ranges stay together, hot spots too
    GEOGRAPHY = "geography"  # by a region that is said with the key: data stays where it must


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """One bucket and where it is."""

    number: int
    shard: str
    epoch: int = 1
    low: int | None = None
    region: str = ""


@dataclass(frozen=True, kw_only=True)
class ShardMap:
    """A version of a map; ranges are in order of their lowest key, the first of which is the lowest of all.

    `between` is how many keys no region serves at this moment, or two do: those that a relocation has not settled yet.
    """

    name: str
    strategy: Strategy
    version: int
    buckets: tuple[Bucket, ...]
    between: int = 0

    def locate(self, key: object, region: str = "") -> Bucket:
        """The bucket of a key.

        Raises:
            ShardingError: the region is not in the map, or a range's key is no integer.
        """
        match self.strategy:
            case Strategy.HASH:
                return self.buckets[hash_bucket(key, len(self.buckets))]
            case Strategy.RANGE:
                return self._ranged(key)
            case Strategy.GEOGRAPHY:
                for bucket in self.buckets:
                    if bucket.region == region:
                        return bucket
                raise ShardingError(
                    f"map {self.name!r} has no region {region!r}; it has {sorted(b.region for b in self.buckets)}"
                )

    def by_number(self, number: int) -> Bucket:
        """The bucket of this number.

        Raises:
            ShardingError: there is none.
        """
        for bucket in self.buckets:
            if bucket.number == number:
                return bucket
        raise ShardingError(f"map {self.name!r} has no bucket {number!r}")

    def _ranged(self, key: object) -> Bucket:
        if isinstance(key, bool) or not isinstance(key, int):
            raise ShardingError(f"map {self.name!r} is by range; key {key!r} is no integer")
        found = self.buckets[0]
        for bucket in self.buckets:
            if bucket.low is not None and bucket.low <= key:
                found = bucket
        return found


def hash_bucket(key: object, buckets: int) -> int:
    """The bucket of a key among so many; the same in every process, for a key and for its text."""
    import xxhash

    return int(xxhash.xxh64_intdigest(str(key).encode()) % buckets)


def even_map(name: str, shards: Sequence[str], buckets: int) -> ShardMap:
    """A first map by hash, with as many buckets for each shard."""
    if not shards or buckets < len(shards):
        raise ShardingError(
            f"map {name!r} has {buckets} buckets for {len(shards)} shards; give more buckets than shards"
        )
    made = tuple(Bucket(number=number, shard=shards[number % len(shards)]) for number in range(buckets))
    return ShardMap(name=name, strategy=Strategy.HASH, version=1, buckets=made)


def ranged_map(name: str, lows: Mapping[int, str]) -> ShardMap:
    """A first map by range: the shard from each lowest key on; the first range begins below every key."""
    made = [Bucket(number=number, shard=lows[low], low=low) for number, low in enumerate(sorted(lows))]
    if not made:
        raise ShardingError(f"map {name!r} has no ranges")
    made[0] = replace(made[0], low=LOWEST)
    return ShardMap(name=name, strategy=Strategy.RANGE, version=1, buckets=tuple(made))


def geographic_map(name: str, regions: Mapping[str, str]) -> ShardMap:
    """A first map by region: the shard of each."""
    made = tuple(Bucket(number=n, shard=regions[region], region=region) for n, region in enumerate(sorted(regions)))
    return ShardMap(name=name, strategy=Strategy.GEOGRAPHY, version=1, buckets=made)


def plan_of_adding(current: ShardMap, shard: str) -> list[Bucket]:
    """The buckets that a new shard takes: its even share, from whoever has most; nothing else moves.

    Raises:
        ShardingError: the map is not by hash, where nobody can say what an even share is.
    """
    if current.strategy is not Strategy.HASH:
        raise ShardingError(f"map {current.name!r} is by {current.strategy}; move buckets by name, or split a range")
    counts = Counter(bucket.shard for bucket in current.buckets)
    share = len(current.buckets) // len({*counts, shard})
    taken: list[Bucket] = []
    left = sorted(current.buckets, key=lambda bucket: bucket.number)
    while counts[shard] < share:
        most = max((name for name in counts if name != shard), key=lambda name: (counts[name], name))
        bucket = next(each for each in left if each.shard == most)
        left.remove(bucket)
        taken.append(bucket)
        counts[most] -= 1
        counts[shard] += 1
    return taken
