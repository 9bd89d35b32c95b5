"""A disk that is full: a tablespace on a file system of a few megabytes, filled in every phase of the road."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError
from psycopg import sql

from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging.relay import Relay
from migration_tools.playbook import seconds
from playbooks.orders import Orders
from tests.chaos.world import eventually
from tests.conftest import SMALL_SHOP, Cluster, Pair, cloned_pair
from tests.integration.test_phases import PHASES, ROAD, Road
from tests.operators import owners
from tests.races.scene import Background
from tests.stage import Stage

pytestmark = pytest.mark.thorough

MEGABYTE = 1 << 20
# What the two databases take at first, and what a phase may need beside it.
SIZE = 96
SIDES = {"source": "shop", "target": "orders"}
BIG = "repeat(md5(random()::text), 40)"


class Disk:
    """A file system of SIZE megabytes, and a tablespace on it."""

    def __init__(self, place: Path, space: str):
        self.place, self.space = place, space
        self.ballast = place / "ballast"

    def fill(self) -> None:
        """Leave not a byte."""
        with self.ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * MEGABYTE):
                continue
        with self.ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * 512):
                continue
        assert os.statvfs(self.place).f_bavail == 0

    def free(self) -> None:
        """Give back what was filled."""
        self.ballast.unlink()


@contextlib.contextmanager
def on_a_small_disk(
    cluster: Cluster, templates: tuple[str, str], blocker: Any, side: str
) -> Iterator[tuple[Pair, Disk]]:
    """A pair of databases with a small shop in it, one of them on a small disk."""
    with _small_disk(cluster) as disk, cloned_pair(cluster, templates, blocker) as pair:
        with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
            name = sql.Identifier(getattr(pair, side))
            conn.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE {}").format(name, sql.Identifier(disk.space)))
        with pair.connect("shop") as conn:
            conn.execute(SMALL_SHOP)
        yield pair, disk


@pytest.fixture(params=["shop", "orders"])
def cramped(
    request: Any, cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Road, Disk]]:
    """A seeded shop with everything running."""
    monkeypatch.setattr(Orders, "gates", replace(Orders.gates, soak=seconds(0), quiet=seconds(0.2)))
    with on_a_small_disk(cluster, templates, django_db_blocker, request.param) as (pair, disk):
        road = Road(pair)
        with road.processes():
            yield road, disk


@contextlib.contextmanager
def _small_disk(cluster: Cluster) -> Iterator[Disk]:
    place = Path(tempfile.mkdtemp(prefix="strangle-disk-"))
    space = f"cramped_{os.urandom(4).hex()}"  # others use the same cluster at the same time
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=755", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        place.rmdir()
        pytest.skip("this kernel lets us mount no file system, and only a real one is full in earnest")
    try:
        with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
            (data,) = conn.execute("SHOW data_directory").fetchone() or ("",)
            owner = Path(data).stat()
            (place / "space").mkdir()
            os.chown(place / "space", owner.st_uid, owner.st_gid)
            location = sql.Literal(str(place / "space"))
            conn.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(sql.Identifier(space), location))
        try:
            yield Disk(place, space)
        finally:
            with psycopg.connect(cluster.dsn(), autocommit=True) as conn:
                conn.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(space)))
    finally:
        subprocess.run(["umount", str(place)], check=True)
        shutil.rmtree(place, ignore_errors=True)


def write_much(pair: Pair, side: str, number: int) -> bool:
    """A customer's statement that needs room in tables and outbox, on the owner's side; whether it was taken."""
    table, column, key = ("orders_order", "note", 1) if side == "shop" else ("sales_order", "remark", 1)
    try:
        session = pair.connect(side, f"{side}_app")
    except psycopg.OperationalError as error:
        # A new session writes down the catalogue where the last schema change took it away, or is refused.
        if "could not write init file" in str(error):
            return False
        raise
    with session as conn:
        try:
            conn.execute(f"UPDATE {table} SET {column} = left('{number} ' || {BIG}, 500) WHERE id >= %s", [key])
        except psycopg.errors.DiskFull:
            found = conn.execute(f"SELECT count(*) FROM {table} WHERE {column} LIKE '{number} %'").fetchone()
            assert found == (0,), "half a statement"
            return False
    return True


def test_a_relay_that_finds_no_room_goes_on_when_there_is_some(
    cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    with on_a_small_disk(cluster, templates, django_db_blocker, "shop") as (pair, disk):
        stage = Stage(pair)
        for number in range(3):
            assert write_much(pair, "shop", number)
        disk.fill()
        working = Background(lambda: Relay("orders", RelationProjector()).run(stop))
        assert eventually(lambda: "No space left on device; trying again" in caplog.text or not working.running())
        disk.free()
        try:
            assert eventually(lambda: _numbered(stage) >= 300 or not working.running())
        finally:
            stop.set()
            stage.close()
        working.outcome()


def _numbered(stage: Stage) -> int:
    return int(stage.shop.execute("SELECT count(*) FROM strangle_stream").fetchone()[0])


def test_a_disk_that_is_full_in_each_phase_stops_what_needs_room_and_loses_nothing(cramped: tuple[Road, Disk]) -> None:
    road, disk = cramped
    failed: list[CommandError] = []
    refused = 0
    for step, command in enumerate(ROAD, 1):
        owner = "orders" if PHASES[step] == "decommission" else "shop"
        disk.fill()
        for number in range(40):
            if not write_much(road.pair, owner, step * 100 + number):
                refused += 1
                break
        try:
            road.go(command)
        except CommandError as error:
            failed.append(error)
        disk.free()
        assert eventually(lambda: _goes_on(road, step, command))  # noqa: B023
        owner = SIDES[owners(road.pair)[0]]
        assert write_much(road.pair, owner, step * 100 + 99)
        if "dual_write" != PHASES[step] != "decommission":
            assert eventually(lambda: road.stage.differences() == []), road.stage.differences()[:5]
    assert failed, "the disk was never in the way of a move"
    assert {error.returncode for error in failed} <= {1, 4}
    assert [error for error in failed if "Traceback" in str(error)] == []
    assert refused, "the disk was never in the way of a customer"
    assert eventually(lambda: _goes_on(road, 5, "strangle_rollback"))
    assert eventually(lambda: road.stage.differences() == [])


def _goes_on(road: Road, step: int, command: str) -> bool:
    """The same command, until it is done; that is all that a person may have to do."""
    with road.pair.connect("shop") as conn:
        row = conn.execute("SELECT phase, move FROM strangle_context WHERE name = 'orders'").fetchone()
    if row == (PHASES[step], None):
        return True
    with contextlib.suppress(CommandError):
        road.go(command)
    return False
