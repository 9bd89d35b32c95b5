"""Retention beside consumers, new consumers, open transactions and kills: what somebody needs is never emptied."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from migration_tools.errors import TransferError
from migration_tools.kernel import points
from migration_tools.messaging import retention
from migration_tools.messaging.retention import drop_old, empty, survey
from migration_tools.messaging.rings import Ring
from migration_tools.messaging.stream import head, note_receipt, read_batch
from migration_tools.stores.postgres import connect
from tests.races.scene import Background
from tests.stage import STREAM, write_at_random

DAY = 86_400


@pytest.fixture
def conn() -> Iterator[Any]:
    with connect("default", "test") as made:
        yield made


@pytest.fixture
def aged(stage: Any) -> Any:
    """The stage with a stream of three ticks, all long ago, in the leaf of their time."""
    for number in range(3):
        stage.shop.execute("UPDATE orders_orderline SET quantity = %s WHERE order_id < 50", [number + 5])
        stage.tick()
    age(stage)
    return stage


def age(stage: Any) -> tuple[str, str]:
    """Let everything be forty days old; gives the leaves that hold it."""
    leaves = []
    for ring in (retention.OUTBOX, retention.STREAM):
        busy = int(ring.current(retention.time.time()).rsplit("_", 1)[1])
        slot = (busy + 3) % ring.leaves
        stage.shop.execute(f"UPDATE {ring.table} SET slot = %s, occurred_at = occurred_at - interval '40 days'", [slot])
        leaves.append(f"{ring.table}_{slot}")
    stage.shop.execute("UPDATE strangle_tick SET at = at - interval '40 days'")
    return leaves[0], leaves[1]


def rows(stage: Any, table: str = "strangle_stream") -> int:
    return int(stage.shop.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_slow_consumer_reads_while_leaf_is_old(aged: Any, conn: Any) -> None:
    end = head(conn.cursor(), STREAM)
    note_receipt(conn.cursor(), STREAM, "quick", end)
    note_receipt(conn.cursor(), STREAM, "slow", end - 1)
    stays = {leaf.table: leaf.stays for leaf in survey(conn)}
    assert "consumer slow of stream orders is at" in "".join(stays.values())
    drop_old(conn, STREAM)
    assert rows(aged) > 0
    assert rows(aged, "strangle_outbox") == 0, "every tick has taken it"
    assert read_batch(conn.cursor(), STREAM, origin="x", after=end - 1, limit=10).last == end
    note_receipt(conn.cursor(), STREAM, "slow", end)
    drop_old(conn, STREAM)
    assert rows(aged) == 0
    assert head(conn.cursor(), STREAM) == end, "numbering goes on where it was"


def test_transaction_of_another_database_is_open_at_the_last_tick(stage: Any, conn: Any) -> None:
    """By the naive rule (older than all that were open then) a stream without news keeps its rows for good."""
    with stage.pair.connect("orders") as elsewhere:
        elsewhere.autocommit = False
        elsewhere.execute("SELECT pg_current_xact_id()")
        stage.shop.execute("UPDATE orders_orderline SET quantity = 5 WHERE order_id < 50")
        stage.tick()
        leaf, _ = age(stage)
        assert stage.shop.execute(
            f"""SELECT max(xid) >= (SELECT pg_snapshot_xmin(snapshot) FROM strangle_tick ORDER BY number DESC LIMIT 1)
                FROM {leaf}"""
        ).fetchone() == (True,), "naively it stays"
        assert empty(conn, leaf) is True


def test_without_any_consumer_nothing_of_a_stream_goes(aged: Any, conn: Any) -> None:
    before = rows(aged)
    drop_old(conn, STREAM)
    assert rows(aged) == before
    assert any("no consumer yet" in leaf.stays for leaf in survey(conn))


def test_consumer_registers_then_leaf_is_checked_then_registration_commits(aged: Any, conn: Any) -> None:
    """The naive check reads what is committed, empties the leaf, and the new consumer begins with a hole."""
    end = head(conn.cursor(), STREAM)
    note_receipt(conn.cursor(), STREAM, "quick", end)
    leaf = next(each.table for each in survey(conn) if not each.stays and "stream" in each.table)
    with aged.pair.connect("shop") as late:
        late.autocommit = False
        note_receipt(late.cursor(), STREAM, "late", 0)
        assert retention._stays(conn, retention.STREAM, leaf) == "", "naively it may go"
        assert empty(conn, leaf) is False
        late.commit()
    assert empty(conn, leaf) is False
    assert read_batch(conn.cursor(), STREAM, origin="x", after=0, limit=10_000).last == end


def test_leaf_is_checked_then_consumer_registers_then_leaf_is_emptied(aged: Any, conn: Any) -> None:
    end = head(conn.cursor(), STREAM)
    note_receipt(conn.cursor(), STREAM, "quick", end)
    leaf = next(each.table for each in survey(conn) if not each.stays and "stream" in each.table)
    late: list[Background] = []

    def register() -> None:
        with aged.pair.connect("shop") as other:
            note_receipt(other.cursor(), STREAM, "late", 0)
            read_batch(other.cursor(), STREAM, origin="x", after=0, limit=10_000)

    with points.on("retention.locked", lambda: late.append(Background(register))):
        assert empty(conn, leaf) is True
    with pytest.raises(TransferError, match="retention dropped the rest"):
        late[0].outcome()


def test_row_written_in_open_transaction_then_leaf_is_old(stage: Any, conn: Any) -> None:
    """Its leaf is locked against it; and once it has committed, no tick has taken it yet."""
    stage.tick()
    with stage.pair.connect("shop") as late:
        late.autocommit = False
        late.execute("UPDATE orders_orderline SET quantity = 4 WHERE order_id = 3")
        stage.shop.execute("UPDATE orders_orderline SET quantity = 5 WHERE order_id = 4")
        stage.tick()
        leaf, _ = age(stage)
        late.execute(
            f"""UPDATE strangle_outbox SET slot = {leaf.rsplit("_", 1)[1]},
                    occurred_at = occurred_at - interval '40 days' WHERE occurred_at > now() - interval '1 day'"""
        )
        assert empty(conn, leaf) is False
        late.commit()
    assert "no tick has taken" in next(each.stays for each in survey(conn) if each.table == leaf)
    assert empty(conn, leaf) is False
    stage.settle()
    assert empty(conn, leaf) is True
    stage.backfill()
    assert stage.differences() == []


@pytest.mark.parametrize("point", ["retention.locked", "retention.truncated"])
def test_killed_within_pruning_then_pruned_again(aged: Any, conn: Any, point: str) -> None:
    note_receipt(conn.cursor(), STREAM, "quick", head(conn.cursor(), STREAM))
    before = rows(aged), rows(aged, "strangle_outbox")
    told = aged.pair.manage("strangle_prune", "--dry-run").stdout
    assert told.count("would be emptied") == 2, told
    assert aged.pair.manage("strangle_prune", STRANGLE_POINTS=f"{point}=kill").returncode == -9
    assert (rows(aged), rows(aged, "strangle_outbox")) == before
    done = aged.pair.manage("strangle_prune")
    assert done.stdout.count("; emptied") == 2, done
    assert (rows(aged), rows(aged, "strangle_outbox")) == (0, 0)


def test_cut_off_between_two_deletes_then_pruned_again(aged: Any, conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    note_receipt(conn.cursor(), STREAM, "quick", head(conn.cursor(), STREAM))
    monkeypatch.setattr(retention, "DELETE_ROWS", 1)

    def die() -> None:
        raise InterruptedError

    with points.on("retention.deleted", die), pytest.raises(InterruptedError):
        drop_old(conn, STREAM)
    assert rows(aged, "strangle_tick") > 1
    drop_old(conn, STREAM)
    assert rows(aged, "strangle_tick") == 1, "where numbering goes on"


@pytest.mark.thorough
def test_a_ring_that_comes_round_every_few_seconds_loses_nothing_under_writes(
    stage: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.MIGRATION_TOOLS = {
        **settings.MIGRATION_TOOLS,
        "OUTBOX_RETENTION_SECONDS": 1.0,
        "STREAM_RETENTION_SECONDS": 1.0,
    }
    small = [Ring(table=ring.table, leaves=ring.leaves, width_seconds=1) for ring in retention.RINGS]
    for ring in small:
        stage.shop.execute(f"ALTER TABLE {ring.table} ALTER slot SET DEFAULT {ring.slot}")
    monkeypatch.setattr(retention, "OUTBOX", small[0])
    monkeypatch.setattr(retention, "STREAM", small[1])
    monkeypatch.setattr(retention, "RINGS", tuple(small))
    stage.backfill()
    stop, emptied = threading.Event(), []

    def prune() -> None:
        with connect("default", "prune") as own:
            while not stop.wait(0.05):
                emptied.extend(leaf.table for leaf in survey(own) if not leaf.stays and empty(own, leaf.table))

    working = [Background(lambda seed=seed: write_at_random(stage.pair, seed, stop)) for seed in (1, 2)]
    working.append(Background(prune))
    with stage.running():
        stop.wait(5)
        stop.set()
        for each in working:
            each.outcome()
    stage.settle()
    assert stage.differences() == []
    assert len([table for table in emptied if "outbox" in table]) >= 3, emptied
    assert len([table for table in emptied if "stream" in table]) >= 3, emptied


def test_the_leaf_written_now_is_never_emptied(stage: Any, conn: Any, settings: Any) -> None:
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "OUTBOX_RETENTION_SECONDS": -1.0}
    stage.shop.execute("UPDATE orders_orderline SET quantity = 4 WHERE order_id = 3")
    stage.tick()
    (busy,) = (leaf for leaf in survey(conn) if "outbox" in leaf.table)
    assert busy.stays == "is written now"
    assert empty(conn, busy.table) is False
    with pytest.raises(psycopg.errors.InsufficientPrivilege), stage.pair.connect("shop", "shop_app") as shopper:
        shopper.execute(f"INSERT INTO {busy.table} (stream, kind) VALUES ('orders', 't')")
