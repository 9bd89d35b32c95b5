"""PostgreSQL killed with SIGKILL in the middle of a phase: one clear message, and the same command completes it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_tools.state.journal import phase_of
from migration_tools.testing.postgres import EmbeddedPostgres
from tests.chaos.test_killed_commands import IMPATIENT, owners
from tests.conftest import ROOT, SMALL_SHOP, Cluster, cloned_pair, migrate_templates
from tests.integration.test_phases import PHASES, ROAD, Road

SECONDS = 60.0


@pytest.fixture(scope="module")
def mortal() -> Iterator[EmbeddedPostgres]:
    """A cluster of this module's own, because it will be killed."""
    with EmbeddedPostgres() as server:
        yield server


@pytest.fixture(scope="module")
def mortal_templates(mortal: EmbeddedPostgres) -> tuple[str, str]:
    return migrate_templates(Cluster(port=mortal.port, password=mortal.password))


@pytest.fixture
def mortal_road(
    mortal: EmbeddedPostgres, mortal_templates: tuple[str, str], django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Road]:
    from dataclasses import replace

    from migration_tools.playbook import seconds
    from playbooks.orders import Orders

    monkeypatch.setattr(Orders, "gates", replace(Orders.gates, soak=seconds(0), quiet=seconds(0.2)))
    cluster = Cluster(port=mortal.port, password=mortal.password)
    with cloned_pair(cluster, mortal_templates, django_db_blocker) as pair:
        with pair.connect("shop") as conn:
            conn.execute(SMALL_SHOP)
        road = Road(pair)
        with road.processes():
            yield road


def reopen(road: Road) -> None:
    """The test's own connections died with the server."""
    from django.db import connections

    connections.close_all()
    road.stage.close()
    road.stage.shop, road.stage.orders = road.pair.connect("shop"), road.pair.connect("orders")


@pytest.mark.parametrize(
    ("phase", "point"),
    [
        ("dual_write", "install.table_done"),
        ("backfill", "copy.rows_written"),
        ("cutover", "handover.drained"),
        ("cutover", "handover.closed"),
    ],
)
def test_a_killed_postgresql_costs_a_message_and_nothing_else(
    mortal: EmbeddedPostgres, mortal_road: Road, tmp_path: Path, phase: str, point: str
) -> None:
    road, gate = mortal_road, tmp_path / "go"
    road.go(*ROAD[: PHASES.index(phase) - 1])
    command, *args = ROAD[PHASES.index(phase) - 1].split()
    operator = subprocess.Popen(
        [sys.executable, "manage.py", command, "orders", *args],
        cwd=ROOT,
        env={**road.pair.environment(operator=True), **IMPATIENT, "STRANGLE_POINTS": f"{point}=wait:{gate}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + SECONDS
    while not gate.with_suffix(".reached").exists():
        assert operator.poll() is None, operator.communicate()
        assert time.monotonic() < deadline, "the operator never came to the point"
        time.sleep(0.01)
    mortal.kill()
    mortal.start()
    gate.touch()
    _, said = operator.communicate(timeout=SECONDS)
    assert operator.returncode == 1, said
    assert "run the same command again" in said
    assert "Traceback" not in said
    reopen(road)
    assert len(owners(road.pair)) <= 1
    road.go(ROAD[PHASES.index(phase) - 1])
    assert phase_of("orders") == phase
    if phase == "dual_write":
        road.go("strangle_backfill")
    assert len(owners(road.pair)) == 1
    assert road.settled() == []


def test_the_variable_of_points_is_unknown_to_production() -> None:
    assert "STRANGLE_POINTS" not in os.environ
