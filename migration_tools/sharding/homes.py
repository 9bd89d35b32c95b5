"""Which region a key has moved to, kept beside the map; keys that never moved are in the region that clients say."""

from typing import LiteralString

from django.db import connections

from migration_tools.conf import settings
from migration_tools.stores.postgres import connect, transaction

_HOME: LiteralString = "SELECT region FROM strangle_shard_home WHERE map = %s AND key = %s"
_STANDING: LiteralString = "SELECT relocation, settled FROM strangle_shard_home WHERE map = %s AND key = %s"
_LEAVE: LiteralString = """
    INSERT INTO strangle_shard_home (map, key, region, relocation, consent, settled) VALUES (%s, %s, %s, %s, %s, false)
    ON CONFLICT (map, key) DO UPDATE SET region = EXCLUDED.region, relocation = EXCLUDED.relocation,
        consent = EXCLUDED.consent, settled = false WHERE strangle_shard_home.relocation <> EXCLUDED.relocation"""
_SETTLE: LiteralString = """
    UPDATE strangle_shard_home SET settled = true WHERE map = %s AND key = %s AND relocation = %s AND NOT settled"""
_NEXT_VERSION: LiteralString = "UPDATE strangle_shard_map SET version = version + 1 WHERE name = %s"


def home_of(name: str, key: object) -> str:
    """The region that a key has moved to; empty if it never moved."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_HOME, [name, str(key)])
        row = cursor.fetchone()
    return str(row[0]) if row else ""


def standing(name: str, key: str) -> tuple[str, bool]:
    """(relocation, settled) of a key's last move; ("", True) if it never moved."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_STANDING, [name, key])
        row = cursor.fetchone()
    return (str(row[0]), bool(row[1])) if row else ("", True)


def leave(name: str, key: str, *, region: str, relocation: str, consent: str) -> None:
    """Say that a key is on its way to a region, once for a relocation; scatters wait until it is settled.

    In a transaction of its own, whatever the caller's is: it must be seen before the shards change.
    """
    _change(name, _LEAVE, [name, key, region, relocation, consent])


def settle(name: str, key: str, relocation: str) -> None:
    """Say that the new region serves it; in a transaction of its own."""
    _change(name, _SETTLE, [name, key, relocation])


def _change(name: str, statement: LiteralString, values: list[str]) -> None:
    with connect(settings().DATABASE, "shard") as conn, transaction(conn):
        if conn.execute(statement, values).rowcount:
            conn.execute(_NEXT_VERSION, [name])
