"""Work on the shard of a key: the database that the map names, entered under its epoch, tried again where it moved."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import OperationalError, connections, transaction

from migration_tools.conf import settings
from migration_tools.errors import ShardingError
from migration_tools.sharding.declaration import sharding
from migration_tools.sharding.guard import WRONG_SHARD_SQLSTATE
from migration_tools.sharding.homes import home_of
from migration_tools.sharding.mapping import Bucket, Strategy
from migration_tools.sharding.maps import cached

Result = TypeVar("Result")
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1


class WrongShard(ShardingError):
    """A shard does not serve this bucket under the epoch of our map; read the map again."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a block works: the alias for `using`, the bucket for new rows, and by geography the region."""

    map: str
    alias: str
    bucket: int
    region: str = ""


_place: ContextVar[Place | None] = ContextVar("strangle_shard_place", default=None)


@contextmanager
def on_shard(name: str, key: object, *, region: str = "") -> Iterator[Place]:
    """Work on a key's shard, in one transaction of it; ShardRouter sends sharded models there.

    Raises:
        WrongShard: the map was old. Nothing was read or written; `at_shard` tries again by itself.
    """
    bucket = cached(name).get().locate(key, region)
    with entered(name, bucket, str(key)) as place:
        yield place


@contextmanager
def entered(name: str, bucket: Bucket, key: str) -> Iterator[Place]:
    """Work on a key of a bucket as a map says it."""
    alias = sharding(name).shard(bucket.shard).alias
    place = Place(map=name, alias=alias, bucket=bucket.number, region=bucket.region)
    token = _place.set(place)
    try:
        with transaction.atomic(using=alias):
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT strangle_shard_enter(%s, %s, %s)", [name, bucket.number, bucket.epoch])
                if bucket.region:
                    cursor.execute("SELECT strangle_shard_enter_key(%s, %s, %s)", [name, bucket.number, key])
            yield place
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == WRONG_SHARD_SQLSTATE:
            what = f"bucket {bucket.number} of map {name!r}"
            raise WrongShard(f"{what}, or this key of it, is not on {bucket.shard!r} any more") from error
        raise
    finally:
        _place.reset(token)


def at_shard(
    name: str, key: object, work: Callable[[Place], Result], *, region: str = "", patience_seconds: float = 10.0
) -> Result:
    """Do some work on a key's shard, again with a new map where it was refused.

    The work runs in one transaction, which a refusal undoes, so it may be repeated; what it does elsewhere is not.
    Where the key has moved to another region it runs there, and `place.region` says so: keep it for the next time.

    Raises:
        WrongShard: refused until patience ended: the bucket or the key is moving and nobody finishes the move.
    """
    deadline = time.monotonic() + patience_seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            with on_shard(name, key, region=region) as place:
                return work(place)
        except WrongShard:
            if time.monotonic() > deadline:
                raise
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  (no secret)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            if cached(name).refresh().strategy is Strategy.GEOGRAPHY:
                region = home_of(name, key) or region


class ShardRouter:
    """In DATABASE_ROUTERS: models of sharded tables go to the shard of the running block, and nowhere without one."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        """The block's shard."""
        return _alias_for(model)

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        """The block's shard."""
        return _alias_for(model)

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool | None:
        """Rows of one shard may refer to each other."""
        return True if one._state.db == other._state.db and _map_of(type(one)) is not None else None


def _alias_for(model: Any) -> str | None:
    name = _map_of(model)
    if name is None:
        return None
    place = _place.get()
    if place is None or place.map != name:
        raise ShardingError(
            f"{model._meta.label} is sharded by map {name!r}; use it inside on_shard(), at_shard() or scatter()"
        )
    return place.alias


def _map_of(model: Any) -> str | None:
    for name, raw in settings().SHARDS.items():
        if any(each["table"] == model._meta.db_table for each in raw["TABLES"]):
            return name
    return None
