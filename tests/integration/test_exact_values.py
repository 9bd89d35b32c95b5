"""Row digests see every difference of a value, type by type, on a real server."""

from typing import Any

import psycopg
import pytest

from migration_tools.stores.postgres import connect, sql
from migration_tools.stores.postgres.digests import bucket_digests, row_hashes, rows_by_key
from migration_tools.stores.postgres.exact_values import exact_values
from tests.conftest import Pair

# Pairs of values that are not the same; those marked are one under the type's own hash or equality.
UNEQUAL = [
    ("bigint", "1", "4294967296"),  # the same 32 bits once folded
    ("bigint[]", "{1}", "{4294967296}"),
    ("int8range", "[1,5)", "[4294967296,5000000000)"),
    ("timestamp with time zone", "2000-01-01 00:00:00.000001+00", "2000-01-01 01:11:34.967296+00"),  # folded
    ("timestamp without time zone", "2000-01-01 00:00:00.000001", "2000-01-01 01:11:34.967296"),  # folded
    ("time without time zone", "00:00:00.000001", "01:11:34.967296"),  # folded
    ("interval", "1 day", "24:00:00"),  # equal as intervals
    ("json", '{"a":1,"b":2}', '{"b":2,"a":1}'),
    ("json", '{"a": 1}', '{"a":1}'),
    ("jsonb", '{"a": 1}', '{"a": "1"}'),
    ("point", "(1,2)", "(2,1)"),
    ("tsvector", "'a':1", "'a':2"),
    ("money", "1.00", "4294967.97"),
    ("bit(4)", "0101", "0110"),
    ("bit varying", "01", "001"),
    ("text", "", None),
    ("text", "é", "e\u0301"),
    ("character varying(10)", "x", "x "),
    ("text[]", "{NULL}", '{"NULL"}'),
    ("numeric", "1.50", "1.51"),
    ("numeric(6,2)", "1.50", "-1.50"),  # a numeric's hash leaves out the sign
    ("jsonb", "[[1,2]]", "[[1],2]"),  # a jsonb's hash leaves out where an array ends
    ("character(5)", "a", "b"),
    ("time with time zone", "10:00+01", "09:00+00"),
    ("date", "2000-01-01", "2000-01-02"),
    ("real", "0.1", "0.10000001"),
    ("numeric", "NaN", None),
    ("double precision", "0.1", "0.10000000000000002"),
    ("double precision", "Infinity", "-Infinity"),
    ("bytea", "\\x00", "\\x0000"),
    ("uuid", "00000000-0000-0000-0000-000000000001", "00000001-0000-0000-0000-000000000000"),
    ("inet", "10.0.0.1/32", "10.0.0.1/24"),
    ("boolean", "t", None),
]
# Different spellings of what is declared to be one value.
EQUAL = [
    ("numeric", "1.50", "1.5"),
    ("double precision", "-0", "0"),
    ("real", "-0", "0"),
    ("double precision", "NaN", "nan"),
    ("character(5)", "a", "a    "),
    ("jsonb", '{"a":1,"b":2}', '{"b":2, "a":1}'),
    ("timestamp with time zone", "2020-01-01 00:00+00", "2020-01-01 02:00+02"),
]


@pytest.fixture
def scratch(pair: Pair) -> Any:
    """A connection to a fresh database."""
    with connect("default", "test") as conn:
        yield conn


def _digest(conn: Any, type_name: str, value: str | None) -> Any:
    conn.execute(sql.SQL("CREATE TEMPORARY TABLE t (id int, v {})").format(sql.SQL(type_name)))
    conn.execute(sql.SQL("INSERT INTO t VALUES (1, %s::text::{})").format(sql.SQL(type_name)), [value])
    try:
        return bucket_digests(conn, sql.SQL("t r"), ["id"], ["id", "v"], ["integer", type_name], 1)
    finally:
        conn.execute("DROP TABLE t")


def test_values_that_differ_have_digests_that_differ(scratch: Any) -> None:
    alike = []
    for type_name, one, other in UNEQUAL:
        assert _digest(scratch, type_name, one) == _digest(scratch, type_name, one)
        if _digest(scratch, type_name, one) == _digest(scratch, type_name, other):
            alike.append((type_name, one, other))
    assert alike == []


def test_spellings_of_one_value_have_one_digest(scratch: Any) -> None:
    apart = [each for each in EQUAL if _digest(scratch, each[0], each[1]) != _digest(scratch, each[0], each[2])]
    assert apart == []


def test_a_type_that_is_not_built_in_enters_as_text(scratch: Any) -> None:
    for type_name in ("citext", "citext[]", "mood", "interval_of_ours", "public.bigint_domain"):
        assert _entered(scratch, type_name) == ['v::text COLLATE "C"']
    for type_name in ("xml", "tstzmultirange", "bigint[]", "macaddr8"):
        assert _entered(scratch, type_name) == ["record_send(ROW(v))"]


def test_types_whose_hash_sees_every_byte_enter_as_they_are(scratch: Any) -> None:
    for type_name in ("uuid", "bytea", "date", "double precision"):
        assert _entered(scratch, type_name) == ["v"]
    assert _entered(scratch, "character varying(10)") == ['v COLLATE "C"']  # whatever the column's collation ignores
    assert _entered(scratch, "bigint") == ["int8send(v)"]
    assert _entered(scratch, "interval day to second(3)") == ["interval_send(v)"]


def test_a_database_of_another_encoding_has_the_same_digest(pair: Pair) -> None:
    found = []
    for encoding in ("LATIN1", "UTF8"):
        name = f"{pair.shop}_{encoding.lower()}"
        with pair.connect("shop") as conn:
            conn.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'")
        with psycopg.connect(pair.cluster.dsn(name), autocommit=True, client_encoding="UTF8") as conn:
            conn.execute("""CREATE TABLE t AS SELECT 1 AS id, 'Müller'::text AS v, '{"ö": 1}'::jsonb AS j""")
            columns, types = ["id", "v", "j"], ["integer", "text", "jsonb"]
            found.append(bucket_digests(conn, sql.SQL("t r"), ["v"], columns, types, 64))
        with pair.connect("shop") as conn:
            conn.execute(f"DROP DATABASE {name}")
    assert found[0] == found[1]


def _entered(conn: Any, type_name: str) -> list[str]:
    return [each.as_string(conn) for each in exact_values([(sql.SQL("v"), type_name)])]


def test_an_enum_has_one_digest_though_the_databases_number_its_labels_differently(pair: Pair) -> None:
    naive, ours = [], []
    for side, alias in (("shop", "default"), ("orders", "orders")):
        with pair.connect(side) as conn:
            if side == "orders":
                conn.execute("CREATE TYPE other AS ENUM ('so that', 'numbers', 'differ')")
            conn.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
            conn.execute("CREATE TABLE moods AS SELECT 1 AS id, 'glad'::mood AS v")
            naive.append(conn.execute("SELECT hash_record_extended(ROW(v), 0) FROM moods").fetchone())
        with connect(alias, "test") as conn:
            ours.append(bucket_digests(conn, sql.SQL("moods r"), ["id"], ["id", "v"], ["integer", "mood"], 1))
    assert naive[0] != naive[1]
    assert ours[0] == ours[1]


def test_the_naive_hash_of_a_record_takes_two_integers_for_one(scratch: Any) -> None:
    """Why bigints enter as bytes: PostgreSQL's own hash folds them, whatever the seed."""
    for seed in (0, 1, 7_046_029_254_386_353_087):
        row = scratch.execute(
            "SELECT hash_record_extended(ROW(1::bigint), %(s)s) = hash_record_extended(ROW(4294967296::bigint), %(s)s)",
            {"s": seed},
        ).fetchone()
        assert row == (True,)


def test_a_mapping_that_holds_a_percent_sign_is_drilled_into(scratch: Any) -> None:
    rows = sql.SQL("(SELECT 1 AS id, '100%s %d 50%'::text AS v) r")
    assert len(list(row_hashes(scratch, rows, ["id"], ["id", "v"], ["integer", "text"], 1, [0]))) == 1
    assert rows_by_key(scratch, rows, ["id"], ["id", "v"], ["integer", "text"], [("1",)]) == {
        ("1",): ("1", "100%s %d 50%")
    }


def test_swaps_repeats_and_sums_that_fool_weaker_digests_are_seen(scratch: Any) -> None:
    """A swap of columns, a row that stands three times, NULL moved from one column to the next."""

    def digest(*rows: tuple[str | None, str | None]) -> Any:
        scratch.execute("CREATE TEMPORARY TABLE t (id int, a text, b text)")
        for a, b in rows:
            scratch.execute("INSERT INTO t VALUES (1, %s, %s)", [a, b])
        try:
            columns, types = ["id", "a", "b"], ["integer", "text", "text"]
            return bucket_digests(scratch, sql.SQL("t r"), ["id"], columns, types, 1)
        finally:
            scratch.execute("DROP TABLE t")

    assert digest(("x", "y")) != digest(("y", "x"))
    assert digest(("x", "y")) != digest(("x", "y"), ("x", "y"), ("x", "y"))
    assert digest(("x", None)) != digest((None, "x"))
    assert digest(("x", None)) != digest(("x", ""))
    assert digest(("ab", "c")) != digest(("a", "bc"))
