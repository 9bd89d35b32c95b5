"""PostgreSQL killed with SIGKILL in the middle of a phase: one clear message, and the same command completes it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_tools.state.journal import phase_of
from migration_tools.testing.postgres import EmbeddedPostgres
from tests.chaos.test_killed_commands import owners
from tests.conftest import SMALL_SHOP, Cluster, cloned_pair, migrate_templates
from tests.integration.test_phases import PHASES, ROAD, Road
from tests.operators import held


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


def kill_at(server: EmbeddedPostgres, road: Road, gate: Path, command: str, point: str) -> None:
    """Run an operator's command to the point, kill PostgreSQL, start it, and see what the operator says of it."""
    with held(road.pair, command, point, gate) as operator:
        server.kill()
        server.start()
        operator.go()
        status, said = operator.end()
    assert status == 1, said
    assert "run the same command again" in said
    assert "Traceback" not in said
    reopen(road)
    assert len(owners(road.pair)) <= 1


@pytest.mark.parametrize(
    ("phase", "point"),
    [
        ("dual_write", "install.table_done"),
        ("backfill", "copy.rows_written"),
        ("verify", "stop.drained"),
        ("switch_reads", "machine.worked"),
        ("cutover", "handover.drained"),
        ("cutover", "handover.closed"),
        ("decommission", "archive.dumped"),
    ],
)
def test_a_killed_postgresql_costs_a_message_and_nothing_else(
    mortal: EmbeddedPostgres, mortal_road: Road, tmp_path: Path, phase: str, point: str
) -> None:
    road, command = mortal_road, ROAD[PHASES.index(phase) - 1]
    road.go(*ROAD[: PHASES.index(phase) - 1])
    kill_at(mortal, road, tmp_path / "go", command, point)
    road.go(command)
    assert phase_of("orders") == phase
    if phase == "dual_write":
        road.go("strangle_backfill")
    if phase == "decommission":
        road.run("strangle_rollback")
    assert len(owners(road.pair)) == 1
    assert road.settled() == []


@pytest.mark.parametrize(
    ("phase", "point"),
    [
        ("dual_write", "remove.table_done"),
        ("backfill", "machine.worked"),
        ("verify", "machine.worked"),
        ("switch_reads", "machine.worked"),
        ("cutover", "handover.closed"),
        ("decommission", "copy.rows_written"),
    ],
)
def test_a_postgresql_killed_in_a_rollback_costs_a_message_and_nothing_else(
    mortal: EmbeddedPostgres, mortal_road: Road, tmp_path: Path, phase: str, point: str
) -> None:
    road, before = mortal_road, PHASES[PHASES.index(phase) - 1]
    road.go(*ROAD[: PHASES.index(phase)])
    kill_at(mortal, road, tmp_path / "go", "strangle_rollback", point)
    road.run("strangle_rollback")
    assert phase_of("orders") == before
    road.go(*ROAD[PHASES.index(before) : 2])
    assert len(owners(road.pair)) == 1
    assert road.settled() == []


def test_the_variable_of_points_is_unknown_to_production() -> None:
    assert "STRANGLE_POINTS" not in os.environ
