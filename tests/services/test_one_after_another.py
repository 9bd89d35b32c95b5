"""Two contexts leave one monolith: each is decommissioned by its own witnesses, whatever becomes of the other."""

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError

from migration_tools.capture.refusals import refusals
from migration_tools.observability.figures import collect
from migration_tools.overview.observing import observe
from migration_tools.playbook.registry import get
from migration_tools.state.journal import phase_of
from migration_tools.stores.postgres import connect
from tests.conftest import Cluster
from tests.races.scene import beside
from tests.services.road import ROAD, Road, roads

pytest_plugins = ["tests.services.rig"]

LATE = "UPDATE inventory_stock SET on_hand = 0 WHERE product_id = 1"
LEFT = """
    SELECT proname::text FROM pg_proc WHERE proname ~ %(ours)s
    UNION SELECT relname FROM pg_class WHERE relkind = 'S' AND relname = 'strangle_refused_' || %(context)s
    UNION SELECT tablename FROM pg_tables WHERE tablename = ANY (%(tables)s)
    UNION SELECT nspname FROM pg_namespace WHERE nspname = 'strangle_quarantine_' || %(context)s
    UNION SELECT projection FROM strangle_relation WHERE stream = %(context)s AND active"""
TABLES = {"payments": ["payments_payment"], "inventory": ["inventory_stock", "inventory_movement"]}


@pytest.fixture
def two(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[dict[str, Road]]:
    """Payments and inventory, both out of the shop, which both fences refuse to write them now."""
    with django_db_blocker.unblock(), roads(cluster, templates, "payments", "inventory") as made:
        for context in made:
            made[context].go(*ROAD[:5])
        yield made


def left(way: Road) -> list[str]:
    """What of a context is in the monolith's database still, by independent SQL."""
    asked = {"context": way.context, "tables": TABLES[way.context], "ours": f"^strangle_{way.context}_"}
    return [str(row[0]) for row in way.shop.execute(LEFT, asked).fetchall()]


@contextmanager
def refused_all_the_time(way: Road, cluster: Cluster) -> Iterator[None]:
    """A job of the monolith that nobody knew of writes what the service owns, again and again."""
    dsn, tried = cluster.dsn(str(way.shop.info.dbname), "shop_app"), threading.Event()

    def write(stop: threading.Event) -> None:
        with psycopg.connect(dsn, autocommit=True, application_name="nightly count") as conn:
            while not stop.wait(0.05):
                with pytest.raises(psycopg.Error, match="is not owned here"):
                    conn.execute(LATE)
                tried.set()

    with beside(write):
        assert tried.wait(30)
        yield


@pytest.mark.thorough
def test_two_contexts_of_a_monolith_are_decommissioned_one_after_another(
    two: dict[str, Road], cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration_tools.phases.quiet.REFUSALS_COUNT_FROM", dt.timedelta(0))
    payments, inventory = two["payments"], two["inventory"]
    with refused_all_the_time(inventory, cluster):
        # The first is not blamed for writes to the second, and the second is for its own, though both are fenced off.
        evidence = payments.run("strangle_decommission", "--directory", str(tmp_path / "payments"))["evidence"]
        assert evidence["refused_writes"] == 0
        with pytest.raises(CommandError) as error:
            inventory.run("strangle_decommission", "--directory", str(tmp_path / "inventory"))
    assert error.value.returncode == 4
    assert "somebody still tries, the last was role 'shop_app' (nightly count)" in str(error.value)
    assert (phase_of("payments"), phase_of("inventory")) == ("decommission", "cutover")
    _counted_apart()

    inventory.run("strangle_decommission", "--directory", str(tmp_path / "inventory"))
    payments.run("strangle_decommission", "--remove")
    assert left(payments) == []
    assert {*TABLES["inventory"], "strangle_refused_inventory"} <= set(left(inventory)), "the other one's stays"
    late = "UPDATE strangle_quarantine_inventory.inventory_stock SET on_hand = 0"
    with pytest.raises(psycopg.Error, match="is not owned here"):
        inventory.shop.execute(late)
    inventory.run("strangle_decommission", "--remove")
    assert left(inventory) == []
    for way in (payments, inventory):
        assert way.service.execute("SELECT count(*) FROM pg_class WHERE relname ~ '^strangle_refused_'").fetchone() == (
            0,
        )


def _counted_apart() -> None:
    """By whoever asks: the operator, the console, metrics."""
    with connect("default", "test") as shop:
        tried = refusals(shop, "inventory")
        assert tried > 0
        assert refusals(shop, "payments") == 0
        figures = {
            each.labels["context"]: each.value for each in collect(shop) if each.name == "strangle_fence_blocked_total"
        }
    assert figures == {"inventory": tried, "payments": 0}
    assert observe(get("inventory"))["fenced"] == {"source": tried, "target": 0}
    assert observe(get("payments"))["fenced"] == {"source": 0, "target": 0}
