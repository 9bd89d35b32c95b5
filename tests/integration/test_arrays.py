"""Columns sent as arrays arrive as they were, whatever their texts hold, and nothing can slip out of its place."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration_tools.errors import TransferError
from migration_tools.stores.postgres import connect, sql
from migration_tools.stores.postgres.arrays import array_literal, array_type, execute_with_arrays
from tests.conftest import Pair

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from('{},"\\N '))
COLUMNS = {
    "text": TEXTS,
    "character varying(200)": TEXTS,
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "uuid": st.uuids().map(str),
    "boolean": st.sampled_from(["true", "false"]),
    "timestamp with time zone": st.sampled_from(
        ["infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "2024-02-29 23:59:59.999999+00"]
    ),
    "double precision": st.sampled_from(["NaN", "Infinity", "-0", "0.1", "1e-300"]),
    "numeric(12,2)": st.sampled_from(["NaN", "0.00", "-9999999999.99"]),
    "bytea": st.binary().map(lambda value: "\\x" + value.hex()),
    "jsonb": TEXTS.map(lambda value: value.encode("unicode_escape").hex()).map('{{"a": ["{}", null]}}'.format),
    "character(4)": st.sampled_from(["a   ", "abcd"]),
    "integer[]": st.sampled_from(["{}", "{1,NULL}", "{{1,2},{3,4}}"]),
    "box": st.just("(2,2),(1,1)"),
    "int4range": st.sampled_from(["empty", "[1,5)"]),
}
ROWS = st.lists(st.tuples(*(st.none() | values for values in COLUMNS.values())), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def conn(cluster: Any) -> Iterator[Any]:
    """A connection with a temporary table of all these types."""
    with psycopg.connect(cluster.dsn(), autocommit=True) as made:
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(f"c{i}"), sql.SQL(name)) for i, name in enumerate(COLUMNS)
        )
        made.execute(sql.SQL("CREATE TEMPORARY TABLE t ({})").format(columns))
        made.execute("SET TimeZone = 'UTC'")
        yield made


def insert(conn: Any, rows: list[tuple[str | None, ...]]) -> None:
    names = [f"c{i}" for i in range(len(COLUMNS))]
    statement = sql.SQL("INSERT INTO t SELECT {} FROM unnest({}) AS u({})").format(
        sql.SQL(", ").join(
            sql.SQL("u.{}::{}").format(sql.Identifier(n), sql.SQL(t)) for n, t in zip(names, COLUMNS, strict=True)
        ),
        sql.SQL(", ").join(sql.SQL("%s::{}").format(array_type(each)) for each in COLUMNS),
        sql.SQL(", ").join(sql.Identifier(each) for each in names),
    )
    execute_with_arrays(conn, statement, list(zip(*rows, strict=True)), list(COLUMNS))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS)
def test_rows_arrive_as_they_were(conn: Any, rows: list[tuple[str | None, ...]]) -> None:
    conn.execute("TRUNCATE t")
    insert(conn, rows)
    texts = ", ".join(f"c{i}::text" if kind != "character(4)" else f"c{i}::bpchar" for i, kind in enumerate(COLUMNS))
    assert conn.execute(f"SELECT {texts} FROM t").fetchall() == rows


def test_a_uuid_that_is_not_written_as_postgresql_writes_it_is_read_by_postgresql(conn: Any) -> None:
    conn.execute("CREATE TEMPORARY TABLE IF NOT EXISTS ids (id uuid)")
    statement = sql.SQL("INSERT INTO ids SELECT * FROM unnest(%s::uuid[])")
    odd = "{A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11}"
    execute_with_arrays(conn, statement, [[odd, None, "00000000-0000-0000-0000-000000000001"]], ["uuid"])
    assert [row[0] for row in conn.execute("SELECT id::text FROM ids")] == [
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        None,
        "00000000-0000-0000-0000-000000000001",
    ]
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        execute_with_arrays(conn, statement, [["00", "0" * 62]], ["uuid"])


@pytest.mark.parametrize(
    ("values", "type_name"),
    [(["1,2", "3"], "bigint"), (["a\0,b", "c"], "text"), (["\0N"], "text"), (["1", None, "2,NULL"], "integer")],
)
def test_a_value_that_would_become_two_is_refused(values: list[str | None], type_name: str) -> None:
    with pytest.raises(TransferError):
        array_literal(values, type_name)


def test_a_join_that_does_not_count_would_have_put_values_into_other_rows(conn: Any) -> None:
    """What the refusals above prevent: two values of which PostgreSQL makes three."""
    naive = "{" + ",".join(["1,2", "3"]) + "}"
    assert conn.execute("SELECT cardinality(%s::bigint[])", [naive]).fetchone() == (3,)


def test_on_a_connection_of_django_parameters_do_not_become_part_of_the_statement(pair: Pair) -> None:
    with connect("default", "test") as made:
        made.cursor_factory = psycopg.ClientCursor
        made.execute("CREATE TEMPORARY TABLE t (a text)")
        execute_with_arrays(made, sql.SQL("INSERT INTO t SELECT * FROM unnest(%s::text[])"), [["';--", '"']], ["text"])
        assert made.execute("SELECT array_agg(a) FROM t").fetchone() == (["';--", '"'],)
