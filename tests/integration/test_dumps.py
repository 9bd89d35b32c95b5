"""The final dump does not believe itself: what was changed, cut or does not read back is found before anything goes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_tools.errors import ArchiveBroken
from migration_tools.kernel.watch import UNWATCHED, Watch
from migration_tools.phases import dumps
from migration_tools.stores.postgres import Connection, connect
from tests.conftest import SMALL_SHOP, Pair

TABLES = ["orders_order", "orders_orderline"]


@pytest.fixture
def conn(pair: Pair) -> Iterator[Connection]:
    """A shop with orders."""
    with pair.connect("shop") as shop:
        shop.execute(SMALL_SHOP)
    with connect("default", "test") as made:
        yield made


def test_a_manifest_is_the_one_that_the_journal_knows(conn: Connection, tmp_path: Path) -> None:
    made = dumps.dump(conn, "orders", TABLES, tmp_path, UNWATCHED)
    known = dumps.manifest_checksum(tmp_path)
    assert dumps.read_manifest(tmp_path, known=known) == made
    file = tmp_path / dumps.MANIFEST
    file.write_text(json.dumps({**made, "made": 0}))
    with pytest.raises(ArchiveBroken, match="is not the manifest that the journal knows: it was changed"):
        dumps.read_manifest(tmp_path, known=known)
    file.write_text(json.dumps({**made, "version": 1}))
    with pytest.raises(
        ArchiveBroken, match=r"of an older version.*strangle_rollback orders, then strangle_decommission"
    ):
        dumps.read_manifest(tmp_path)
    file.unlink()
    with pytest.raises(ArchiveBroken, match=r"there is no dump in .*name its place with --directory"):
        dumps.read_manifest(tmp_path, known=known)


def test_a_dump_that_does_not_read_back_as_its_table_is_refused(conn: Connection, tmp_path: Path) -> None:
    """Files that are whole by their checksum, and hold other rows than the table did."""
    made = dumps.dump(conn, "orders", TABLES, tmp_path, UNWATCHED)
    for table, each in made["tables"].items():
        dumps.prove(conn, table, tmp_path, each, UNWATCHED)
    assert dumps.restore(conn, tmp_path, made, "whole", watch=UNWATCHED)["rows"]["orders_order"] == 300
    conn.execute("RESET search_path")
    conn.execute("DELETE FROM orders_orderline WHERE order_id = 1")
    other: Any = dumps.dump(conn, "orders", TABLES[1:], tmp_path / "other", UNWATCHED)["tables"]["orders_orderline"]
    held = {**made["tables"]["orders_orderline"], "file": "other/orders_orderline.copy"}
    with pytest.raises(ArchiveBroken, match=r"orders_orderline\.copy does not have the checksum"):
        dumps.prove(conn, "orders_orderline", tmp_path, held, UNWATCHED)
    # As if the file had been written so: rows and checksum of the table, but another file's bytes.
    few = {**other, "file": held["file"], "rows": held["rows"]}
    with pytest.raises(ArchiveBroken, match="does not read back as the table it was made from; nothing was moved"):
        dumps.prove(conn, "orders_orderline", tmp_path, few, UNWATCHED)
    manifest = {**made, "tables": {**made["tables"], "orders_orderline": few}}
    with pytest.raises(ArchiveBroken, match=f"rows of 'orders_orderline' that are not the {few['rows']} that were"):
        dumps.restore(conn, tmp_path, manifest, "short", watch=UNWATCHED)


class Stopped(Exception):
    """Somebody pressed Ctrl-C."""


def test_a_restore_that_is_told_to_stop_leaves_nothing_behind(conn: Connection, tmp_path: Path) -> None:
    made = dumps.dump(conn, "orders", TABLES, tmp_path, UNWATCHED)
    there = "SELECT nspname FROM pg_namespace WHERE nspname = 'strangle_restored_orders'"
    told: list[str] = []

    def heed(sentence: str) -> None:
        told.append(sentence)
        if conn.execute(there).fetchone() and len(told) > 3:
            raise Stopped

    with pytest.raises(Stopped), dumps.opened_scratch("default", "default", "orders", keep=True) as (scratch, schema):
        dumps.restore(scratch, tmp_path, made, schema, watch=Watch(heed=heed))
    assert set(told) == {"stopped; what it had restored is dropped again. Run the same command again"}
    assert conn.execute(there).fetchone() is None
