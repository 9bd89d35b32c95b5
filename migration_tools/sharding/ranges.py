"""Cut a range in two, or join two, on their shard: rows are relabelled behind the bucket's lock, the map follows."""

from dataclasses import replace

from migration_tools.errors import ShardingError
from migration_tools.kernel import points
from migration_tools.sharding.declaration import Sharding, sharding
from migration_tools.sharding.mapping import Bucket, ShardMap, Strategy
from migration_tools.sharding.maps import publish, read_map
from migration_tools.sharding.moving import HOLD, held, state_of
from migration_tools.stores.postgres import Connection, connect, sql


def split(name: str, number: int, at: int) -> Bucket:
    """Give the keys of a range from `at` on a bucket of their own, which can then be moved; returns it.

    Writers of the range are held while its rows are relabelled. Repeated after a crash it goes on.

    Raises:
        ShardingError: the map is not by range, or `at` is not inside the range.
        FenceBusy: the bucket's lock was not had; nothing was changed.
    """
    declared, current, bucket = _range(name, number)
    above = [each.low for each in current.buckets if each.low is not None and each.low > (bucket.low or 0)]
    if bucket.low is None or not bucket.low < at < min(above, default=1 << 63):
        raise ShardingError(f"{at!r} is not inside range {number} of map {name!r}, which begins at {bucket.low!r}")
    made = Bucket(number=max(each.number for each in current.buckets) + 1, shard=bucket.shard, low=at)
    old = replace(bucket, epoch=bucket.epoch + 1)
    with connect(declared.shard(bucket.shard).alias, "shard") as conn:
        if state_of(conn, name, made.number) != "owned":
            with held(conn, name, number):
                _relabel(conn, declared, number, made.number, at)
                conn.execute(HOLD, [name, number, old.epoch, "owned", ""])
                conn.execute(HOLD, [name, made.number, made.epoch, "owned", ""])
    points.reached("sharding.split")
    publish(name, old, made)
    return made


def merge(name: str, number: int) -> Bucket:
    """Join a range to the one below it, which must be on the same shard; returns that one.

    Raises:
        ShardingError: the map is not by range, or the range below is on another shard.
        FenceBusy: the buckets' locks were not had; nothing was changed.
    """
    declared, current, bucket = _range(name, number)
    below = [each for each in current.buckets if (each.low or 0) < (bucket.low or 0)]
    if not below or below[-1].shard != bucket.shard:
        raise ShardingError(f"range {number} of map {name!r} has no range below it on shard {bucket.shard!r}")
    into = replace(below[-1], epoch=below[-1].epoch + 1)
    with connect(declared.shard(bucket.shard).alias, "shard") as conn:
        if state_of(conn, name, number) == "owned":
            with held(conn, name, number, into.number):
                _relabel(conn, declared, number, into.number, None)
                conn.execute(HOLD, [name, into.number, into.epoch, "owned", ""])
                conn.execute("DELETE FROM strangle_shard_hold WHERE map = %s AND bucket = %s", [name, number])
    publish(name, into, without=number)
    return into


def _range(name: str, number: int) -> tuple[Sharding, ShardMap, Bucket]:
    current = read_map(name)
    if current.strategy is not Strategy.RANGE:
        raise ShardingError(f"map {name!r} is by {current.strategy}; only ranges are split and merged")
    return sharding(name), current, current.by_number(number)


def _relabel(conn: Connection, declared: Sharding, number: int, to: int, at: int | None) -> None:
    conn.execute("SELECT set_config('strangle.moving_bucket', 'on', true)")
    for table in declared.tables:
        conn.execute(
            sql.SQL("UPDATE {} SET {bucket} = %s WHERE {bucket} = %s AND (%s::bigint IS NULL OR {} >= %s)").format(
                sql.Identifier(table.table), sql.Identifier(table.found_by), bucket=sql.Identifier(table.bucket)
            ),
            [to, number, at, at],
        )
