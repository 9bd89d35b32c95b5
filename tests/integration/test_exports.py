"""Cold data: exports go on where the last one ended, lose nothing that is committed late, and add up."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from migration_tools.errors import StoreError
from migration_tools.exports.exporting import Exported, export
from migration_tools.exports.parquet import ParquetSink, current_rows
from migration_tools.exports.ports import Sink
from migration_tools.exports.store import StoreSink
from migration_tools.kernel import points
from migration_tools.stores.opening import open_store
from migration_tools.stores.postgres import connect
from migration_tools.testing.clickhouse import EmbeddedClickHouseServer
from tests.conftest import SMALL_SHOP, Pair
from tests.races.scene import until

TABLES = ["orders_order", "orders_orderline"]


@pytest.fixture
def shop(pair: Pair) -> Iterator["psycopg.Connection[Any]"]:
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
        yield conn


def run(sink: Sink, *tables: str, whole: bool = False) -> list[Exported]:
    with connect("default", "test") as conn:
        return export(conn, tables or TABLES, sink, whole=whole)


def await_end_of_older(sink: Sink) -> None:
    """Export until nothing is left: no transaction of the server runs that began before what is written by now.

    What was written beside one that is still running is exported again; from then on the rows are the changes'.
    """
    until(lambda: run(sink, "orders_order")[0].rows == 0, "older transactions to end", 60)


def totals(conn: "psycopg.Connection[Any]") -> tuple[int, Decimal, int, int]:
    row = conn.execute(
        "SELECT count(*), sum(total), (SELECT count(*) FROM orders_orderline),"
        " (SELECT sum(quantity)::int FROM orders_orderline) FROM orders_order"
    ).fetchone()
    assert row is not None
    return row


def exported(path: Path) -> tuple[int, Decimal, int, int]:
    orders, lines = (current_rows(path / table) for table in TABLES)
    return len(orders), sum(row["total"] for row in orders), len(lines), sum(row["quantity"] for row in lines)


def test_each_export_holds_what_changed_and_the_totals_are_the_sources(shop: Any, tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    assert [(each.rows, each.whole) for each in run(sink)] == [(300, True), (750, True)]
    assert exported(tmp_path) == totals(shop)
    await_end_of_older(sink)
    shop.execute("UPDATE orders_order SET total = total + 1000 WHERE id <= 5")
    shop.execute("DELETE FROM orders_orderline WHERE order_id BETWEEN 10 AND 12")
    shop.execute("DELETE FROM orders_order WHERE id BETWEEN 10 AND 12")
    assert 8 <= run(sink)[0].rows <= 12
    assert exported(tmp_path) == totals(shop)
    [first] = [row for row in current_rows(tmp_path / "orders_order") if row["id"] == 1]
    assert first["total"] == Decimal("1000.01")
    assert first["placed_at"].tzinfo is not None


def test_rows_that_were_written_before_an_export_and_committed_after_it_are_in_the_next(
    shop: Any, pair: Pair, tmp_path: Path
) -> None:
    sink = ParquetSink(tmp_path)
    with pair.connect("shop") as late:
        with late.transaction():
            late.execute("UPDATE orders_order SET total = 7777 WHERE id = 1")
            with late.transaction():
                # Behind a savepoint: the row names a subtransaction, of which no snapshot knows.
                late.execute("UPDATE orders_order SET total = 8888 WHERE id = 2")
            shop.execute("UPDATE orders_order SET total = 1 WHERE id = 3")
            run(sink)
            assert exported(tmp_path)[1] == totals(shop)[1]
        assert exported(tmp_path)[1] != totals(shop)[1]
    run(sink)
    assert exported(tmp_path) == totals(shop)


def test_a_watermark_of_time_loses_what_is_committed_late(shop: Any, pair: Pair) -> None:
    """What one is tempted to do: `WHERE updated_at > the greatest one exported`."""
    newest = "SELECT max(updated_at) FROM orders_order"
    with pair.connect("shop") as late:
        with late.transaction():
            late.execute("UPDATE orders_order SET total = 7777, updated_at = now() WHERE id = 1")
            shop.execute("UPDATE orders_order SET updated_at = clock_timestamp() WHERE id = 3")
            [(watermark,)] = shop.execute(newest).fetchall()
        found = shop.execute("SELECT id FROM orders_order WHERE updated_at > %s", [watermark]).fetchall()
    assert found == []


def test_an_export_killed_before_its_watermark_is_repeated_and_counts_once(shop: Any, tmp_path: Path) -> None:
    class Killed(BaseException):
        """What a dying process does not handle."""

    def die() -> None:
        raise Killed

    sink = ParquetSink(tmp_path)
    run(sink)
    shop.execute("UPDATE orders_order SET total = 5 WHERE id < 50")
    with points.on("exports.written", die), pytest.raises(Killed):
        run(sink)
    assert exported(tmp_path)[1] != totals(shop)[1], "what has no watermark does not count"
    shop.execute("UPDATE orders_order SET total = 6 WHERE id = 1")
    run(sink)
    assert exported(tmp_path) == totals(shop)
    assert len(list((tmp_path / "orders_order").glob("*.parquet"))) == 2


def test_everything_anew_takes_the_place_of_all_parts_and_says_the_same(shop: Any, tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    for number in range(3):
        shop.execute("UPDATE orders_order SET total = %s WHERE id = 9", [number])
        run(sink)
    before = sorted(map(str, current_rows(tmp_path / "orders_order")))
    run(sink, whole=True)
    assert sorted(map(str, current_rows(tmp_path / "orders_order"))) == before
    assert [path.name for path in (tmp_path / "orders_order").glob("part-*")] == ["part-00000004.parquet"]


def test_a_table_with_other_columns_or_without_a_key_is_refused(shop: Any, tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    run(sink, "orders_order")
    shop.execute("ALTER TABLE orders_order ADD COLUMN extra int")
    with pytest.raises(StoreError, match="other columns than were exported"):
        run(sink, "orders_order")
    assert run(sink, "orders_order", whole=True)[0].rows == 300
    shop.execute("CREATE TABLE keyless (n int)")
    with pytest.raises(StoreError, match="has no primary key"):
        run(sink, "keyless")
    shop.execute(
        "CREATE TABLE endless (id int PRIMARY KEY, at timestamptz); INSERT INTO endless VALUES (1, 'infinity')"
    )
    with pytest.raises(StoreError, match="has no place in Parquet"):
        run(sink, "endless")


def test_whatever_is_written_between_exports_the_last_one_is_the_table(shop: Any, tmp_path: Path) -> None:
    shop.execute("CREATE TABLE few (id text PRIMARY KEY, n int, b bytea, t boolean)")
    writes = st.tuples(st.sampled_from("wdx"), st.sampled_from("abc"), st.integers(-5, 5))

    @hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.lists(writes, max_size=12), st.integers(0, 10**9))
    def check(story: list[tuple[str, str, int]], example: int) -> None:
        shop.execute("TRUNCATE few")
        sink = ParquetSink(tmp_path / f"{example}-{len(story)}-{hash(str(story))}")
        for what, key, number in [*story, ("x", "", 0)]:
            if what == "w":
                shop.execute("INSERT INTO few VALUES (%s, %s, 'x', %s) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n",
                             [key, number, number > 0])  # fmt: skip
            elif what == "d":
                shop.execute("DELETE FROM few WHERE id = %s", [key])
            else:
                run(sink, "few")
        found = {row["id"]: (row["n"], row["b"], row["t"]) for row in current_rows(sink.directory / "few")}
        assert found == {row[0]: row[1:] for row in shop.execute("SELECT * FROM few").fetchall()}

    check()


@pytest.mark.thorough
def test_clickhouse_holds_the_sources_totals_after_every_export(shop: Any, settings: Any) -> None:
    with EmbeddedClickHouseServer() as server:
        stores = {"clickhouse": {"ENGINE": "clickhouse", "URL": server.url}}
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "STORES": stores}
        sink = StoreSink(open_store("clickhouse"))
        try:
            assert run(sink, "orders_order")[0].rows == 300
            await_end_of_older(sink)
            shop.execute("UPDATE orders_order SET total = total * 2 WHERE id % 7 = 0")
            shop.execute("DELETE FROM orders_orderline WHERE order_id = 12; DELETE FROM orders_order WHERE id = 12")
            for _ in range(2):
                assert run(sink, "orders_order")[0].rows < 300
            with connect("default", "test") as conn:
                from migration_tools.exports.reading import reading

                with reading(conn, "orders_order") as [source]:
                    expected = dict(source.changed(None))
                    held = sink._store.read(source.shape, list(expected))
            assert {key: row.values for key, row in held.items()} == expected
            assert len(list(sink.keys(source.shape))) == len(expected) == 299
        finally:
            sink.close()


def test_the_command_exports_the_owners_tables(shop: Any, pair: Pair, tmp_path: Path) -> None:
    args = ("strangle_export", "orders", "--to", "parquet", "--path", str(tmp_path), "--format", "json")
    assert json.loads(pair.manage(*args, "--dry-run").stdout)["plan"][0].startswith("export orders_order of database")
    done = pair.manage(*args)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["evidence"]["tables"]["orders_order"] == {"number": 1, "rows": 300, "whole": True}
    assert exported(tmp_path) == totals(shop)
    lost = pair.manage("strangle_export", "orders", "--to", "parquet")
    assert lost.returncode == 1
    assert "needs --path" in lost.stderr
