"""What a shard says of single keys that move between regions: written here, read by the guard (see guard.py)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

from migration_tools.errors import ShardingError
from migration_tools.kernel.locks import LockClass
from migration_tools.sharding.locking import behind
from migration_tools.stores.postgres import Connection, transaction

UNDER_WAY = ("closed", "left", "arriving")

_STATE: LiteralString = """
    SELECT state, relocation FROM strangle_shard_key WHERE map = %s AND bucket = %s AND key = %s FOR UPDATE"""
_PUT: LiteralString = """
    INSERT INTO strangle_shard_key (map, bucket, key, state, relocation) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (map, bucket, key) DO UPDATE SET state = EXCLUDED.state, relocation = EXCLUDED.relocation"""
_STRIPE: LiteralString = "SELECT pg_advisory_xact_lock(%s, strangle_shard_stripe(%s, %s, %s))"
# Older snapshots fail at the bucket's row: see Note [epochs of a key].
_RENEW: LiteralString = "UPDATE strangle_shard_hold SET epoch = epoch WHERE map = %s AND bucket = %s"
_UNDER_WAY: LiteralString = """
    SELECT count(*) FROM strangle_shard_key WHERE map = %s AND bucket = %s AND state = ANY (%s)"""
_ALL: LiteralString = (
    "SELECT map, bucket, key, state, relocation FROM strangle_shard_key WHERE map = %s AND bucket = %s"
)
_FORGET: LiteralString = "DELETE FROM strangle_shard_key WHERE map = %s AND bucket = %s"


def state_of(conn: Connection, name: str, number: int, key: str) -> tuple[str, str]:
    """(state, relocation) of a key, held until the transaction's end; ("", "") if it never was to move."""
    row = conn.execute(_STATE, [name, number, key]).fetchone()
    return (str(row[0]), str(row[1])) if row else ("", "")


def put(conn: Connection, name: str, number: int, key: str, state: str, relocation: str) -> None:
    """Say it, in the running transaction."""
    conn.execute(_PUT, [name, number, key, state, relocation])


@contextmanager
def still(conn: Connection, name: str, number: int, key: str) -> Iterator[None]:
    """A transaction in which nobody writes the key, nor can with a snapshot of before.

    Raises:
        ShardingError: the bucket is not served here, or is moving to another shard.
        FenceBusy: a long transaction writes this key or one that shares its lock; nothing was changed.
    """

    def take() -> None:
        held = conn.execute("SELECT strangle_shard_enter(%s, %s, NULL)", [name, number]).fetchone()
        if held is None or held[0] != "owned":
            raise ShardingError(f"bucket {number} of map {name!r} is moving to another shard; try again after it")
        conn.execute(_STRIPE, [int(LockClass.SHARD), name, number, key])
        conn.execute(_RENEW, [name, number])

    with behind(conn, take, f"a key of bucket {number} of map {name!r}"):
        yield


def refuse_under_way(conn: Connection, name: str, number: int) -> None:
    """Let no bucket move while a key of it is on its way; call behind the bucket's lock.

    Raises:
        ShardingError: one is.
    """
    row = conn.execute(_UNDER_WAY, [name, number, list(UNDER_WAY)]).fetchone()
    if row and row[0]:
        raise ShardingError(
            f"{row[0]} keys of bucket {number} of map {name!r} are on their way between two regions; "
            "strangle_sagas list says which, move the bucket after them"
        )


def carry(source: Connection, target: Connection, name: str, number: int) -> None:
    """Let the bucket's new shard know what the old one says of its keys; an older visit's word is forgotten."""
    said = source.execute(_ALL, [name, number]).fetchall()
    with transaction(target):
        target.execute(_FORGET, [name, number])
        for each in said:
            target.execute(_PUT, each)
