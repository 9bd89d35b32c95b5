"""What a map looks like: each bucket's place and rows, so that a hot spot shows."""

from typing import Any

from migration_tools.sharding.declaration import sharding
from migration_tools.sharding.maps import read_map
from migration_tools.stores.postgres import connect, sql


def shown(name: str) -> dict[str, Any]:
    """Every bucket with its shard, epoch, state there, and rows of all tables; counts read the tables."""
    declared, current = sharding(name), read_map(name)
    rows: dict[int, int] = {}
    states: dict[int, str] = {}
    for shard in declared.shards.values():
        mine = [bucket.number for bucket in current.buckets if bucket.shard == shard.name]
        with connect(shard.alias, "shard") as conn:
            for bucket, state in conn.execute(
                "SELECT bucket, state FROM strangle_shard_hold WHERE map = %s AND bucket = ANY (%s)", [name, mine]
            ):
                states[bucket] = str(state)
            for table in declared.tables:
                counted = conn.execute(
                    sql.SQL("SELECT {0}, count(*) FROM {1} WHERE {0} = ANY (%s) GROUP BY 1").format(
                        sql.Identifier(table.bucket), sql.Identifier(table.table)
                    ),
                    [mine],
                )
                for bucket, count in counted:
                    rows[bucket] = rows.get(bucket, 0) + count
    return {
        "map": name,
        "version": current.version,
        "strategy": current.strategy.value,
        "buckets": [
            {"bucket": b.number, "shard": b.shard, "epoch": b.epoch, "state": states.get(b.number, "gone"),
             "rows": rows.get(b.number, 0)}
            | ({"low": b.low} if b.low is not None else {}) | ({"region": b.region} if b.region else {})
            for b in current.buckets
        ],
    }  # fmt: skip
