"""Verifiers that people use, side by side with ours, on two small tables `ours` and `theirs` of one database."""

import logging
from collections.abc import Callable
from typing import Any

from migration_tools.stores.postgres import connect, sql
from migration_tools.stores.postgres.digests import bucket_digests
from tests.conftest import Pair

COLUMNS = {"id": "integer", "a": "text", "b": "text", "n": "numeric", "big": "bigint", "at": "timestamp with time zone"}

MAKE = """
    CREATE TABLE ours (id integer, a text, b text, n numeric, big bigint, at timestamptz);
    INSERT INTO ours SELECT i, 'a' || i, 'b' || i, i * 1.5, i, '2026-01-01Z'::timestamptz + i * interval '1 second'
    FROM generate_series(1, 50) i;
    UPDATE ours SET a = NULL WHERE id = 7;
    CREATE TABLE theirs (LIKE ours);
    INSERT INTO theirs SELECT * FROM ours;
"""

# Condition → what makes the tables differ by it.
CONDITIONS: dict[str, str] = {
    "a value changed": "UPDATE theirs SET b = 'other' WHERE id = 3",
    "a row missing": "DELETE FROM theirs WHERE id = 3",
    "one row missing, another extra": "UPDATE theirs SET id = 99 WHERE id = 3",
    "NULL against `''`": "UPDATE theirs SET a = '' WHERE id = 7",
    "NULL against a sentinel": "UPDATE theirs SET a = '<null>' WHERE id = 7",
    "NULL in the next column": "UPDATE theirs SET a = b, b = NULL WHERE id = 7",
    "a separator inside a value": "UPDATE ours SET a = 'x,y', b = 'z' WHERE id = 3;"
    "UPDATE theirs SET a = 'x', b = 'y,z' WHERE id = 3",
    "two columns swapped": "UPDATE theirs SET a = b, b = a WHERE id = 3",
    "two rows' values swapped": "UPDATE theirs SET b = 'b' || (7 - id) WHERE id IN (3, 4)",
    "a microsecond": "UPDATE theirs SET at = at + interval '1 microsecond' WHERE id = 3",
    "64 bits that fold alike": "UPDATE theirs SET big = (big # 1) + 4294967296 WHERE id = 3",
    "a row that stands three times": "INSERT INTO theirs SELECT o.* FROM ours o, generate_series(1, 2) WHERE id = 3",
    "numeric scale (1.5, 1.50)": "UPDATE theirs SET n = 4.50 WHERE id = 3",
    "trailing space": "UPDATE theirs SET b = b || ' ' WHERE id = 3",
    "Unicode normalisation": "UPDATE ours SET a = U&'\\00E9' WHERE id = 3;"
    "UPDATE theirs SET a = U&'e\\0301' WHERE id = 3",
}


def digests(pair: Pair) -> bool:
    """Our bucket digests."""
    with connect("default", "test") as conn:
        ours, theirs = (
            bucket_digests(conn, sql.SQL("{} r").format(sql.Identifier(name)), ["id"], list(COLUMNS), _types(), 64)
            for name in ("ours", "theirs")
        )
    return ours != theirs


def _types() -> list[str]:
    return list(COLUMNS.values())


def _query(text: str) -> Callable[[Pair], bool]:
    def verifier(pair: Pair) -> bool:
        with pair.connect("shop") as conn:
            ours, theirs = (conn.execute(text.format(table)).fetchone() for table in ("ours", "theirs"))
        return bool(ours != theirs)

    return verifier


def reladiff(pair: Pair) -> bool:
    """The reladiff package, all columns."""
    from reladiff import connect_to_table, diff_tables

    logging.getLogger("reladiff").setLevel(logging.ERROR)
    uri = f"postgresql://postgres:{pair.cluster.password}@127.0.0.1:{pair.cluster.port}/{pair.shop}"
    first, second = (connect_to_table(uri, name, "id") for name in ("ours", "theirs"))
    try:
        extra = tuple(name for name in COLUMNS if name != "id")
        found = diff_tables(first, second, extra_columns=extra)
        return bool(list(found))
    finally:
        for each in (first, second):
            _close(each.database)


def _close(database: Any) -> None:
    close = getattr(database, "close", None)
    if close is not None:
        close()


VERIFIERS: dict[str, Callable[[Pair], bool]] = {
    "our digests": digests,
    "row counts": _query("SELECT count(*) FROM {}"),
    "reladiff 0.6.0": reladiff,
    "md5 of `concat_ws`": _query(
        "SELECT md5(string_agg(md5(concat_ws(',', id, a, b, n, big, at)), ',' ORDER BY id)) FROM {}"
    ),
    "XOR of 32-bit hashes": _query("SELECT bit_xor(hashtext(t::text)) FROM {} t"),
}
