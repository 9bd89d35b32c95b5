"""Repair changes only what a stored verification confirmed, while it still says something, and journals it."""

from typing import Any

import pytest

from migration_tools.errors import ExitCode
from migration_tools.state.models import JournalEntry, Verification
from tests.corruption import LINE, ORDER, PRODUCT, plant_all, unseen
from tests.integration.test_phases import ROAD, Road, road, writing

__all__ = ["road"]


def spoil(road: Road, *statements: str) -> None:
    with unseen(road.stage.orders):
        for statement in statements:
            assert road.stage.orders.execute(statement).rowcount >= 1, statement


def remarks(road: Road, key: int) -> Any:
    return road.stage.orders.execute(f"SELECT total_cents, remark FROM {ORDER} WHERE id = %s", [key]).fetchone()


def test_what_was_confirmed_is_repaired_under_live_writes_and_journalled(road: Road) -> None:
    seed = 41
    print(f"seed {seed}")
    road.go("strangle_dual_write", "strangle_backfill")
    planted = plant_all(road.stage.orders, seed, list(range(60, 290)))
    assert road.refused("strangle_verify").returncode == ExitCode.DIFFERENCES
    with writing(road.pair):
        result = road.run("strangle_repair", "--reason", "OPS-30")
    evidence = result["evidence"]
    assert evidence["repaired"] + evidence["equal_by_then"] == evidence["confirmed"] == len(planted)
    assert evidence["repaired"] > len(planted) / 2
    entry = JournalEntry.objects.get(step="repaired")
    assert entry.reason == "OPS-30"
    assert entry.evidence["verification"] == evidence["verification"]
    assert road.settled() == []


def test_a_row_that_was_mended_meanwhile_is_left_alone(road: Road) -> None:
    """verification finds it · a live write mends it · repair: nothing is written."""
    road.go("strangle_dual_write", "strangle_backfill")
    spoil(road, f"UPDATE {ORDER} SET total_cents = 1 WHERE id IN (5, 6)")
    road.refused("strangle_verify")
    road.stage.shop.execute("UPDATE orders_order SET note = 'touched' WHERE id = 5")
    evidence = road.run("strangle_repair")["evidence"]
    assert (evidence["confirmed"], evidence["repaired"], evidence["equal_by_then"]) == (2, 1, 1)


def test_only_the_rows_that_are_named_are_repaired(road: Road) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    spoil(road, f"UPDATE {ORDER} SET total_cents = 1 WHERE id IN (5, 6)", f"DELETE FROM {LINE} WHERE id = 5")
    road.refused("strangle_verify")
    error = road.refused("strangle_repair", "--keys", "sales_order:5", "sales_order:7")
    assert "has confirmed no difference at ['sales_order:7']" in str(error)
    evidence = road.run("strangle_repair", "--keys", "sales_order:5", "sales_orderitem:5")["evidence"]
    assert evidence["written"] == {ORDER: 1, LINE: 1}
    left = road.refused("strangle_verify")
    assert "1 differences" in str(left)


def test_a_dry_run_names_each_row_and_touches_nothing(road: Road) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    spoil(
        road,
        f"UPDATE {ORDER} SET total_cents = 1 WHERE id = 5",
        f"DELETE FROM {LINE} WHERE id = 5",
        f"UPDATE {PRODUCT} SET id = 900 WHERE id = 10",
    )
    road.refused("strangle_verify")
    plan = road.run("strangle_repair", "--dry-run")["plan"]
    assert "Replace row 5 of 'sales_order' by the owner's (changed: total_cents)." in plan
    assert "Insert row 5 into 'sales_orderitem' as the owner has it." in plan
    assert "Delete row 900 of 'sales_product', which the owner does not have (extra)." in plan
    assert remarks(road, 5)[0] == 1
    assert not JournalEntry.objects.filter(step="repaired").exists()


@pytest.mark.thorough
def test_a_report_that_says_nothing_any_more_is_refused(road: Road, settings: Any) -> None:
    road.go("strangle_dual_write", "strangle_backfill")
    assert "no verification of 'orders'" in str(road.refused("strangle_repair"))
    spoil(road, f"UPDATE {ORDER} SET total_cents = 1 WHERE id = 5")
    road.refused("strangle_verify")
    first = Verification.objects.latest("id").pk
    road.refused("strangle_verify")
    refusals = {}
    refusals["newer"] = road.refused("strangle_repair", "--run", str(first))
    Verification.objects.update(report={**Verification.objects.latest("id").report, "declaration": "another"})
    refusals["playbook"] = road.refused("strangle_repair")
    road.refused("strangle_verify")
    before = settings.MIGRATION_TOOLS
    settings.MIGRATION_TOOLS = {**before, "REPORT_SECONDS": 0.0}
    refusals["older than 0 s"] = road.refused("strangle_repair")
    settings.MIGRATION_TOOLS = before
    road.run("strangle_repair")
    refusals["repaired or handed over since"] = road.refused("strangle_repair")
    for words, error in refusals.items():
        assert words in str(error)
        assert error.returncode == ExitCode.GATE_NOT_MET
        assert "strangle_verify orders" in str(error)


@pytest.mark.thorough
def test_a_report_of_before_the_cutover_is_refused_after_it(road: Road) -> None:
    road.go(*ROAD[:5])
    error = road.refused("strangle_repair")
    assert error.returncode == ExitCode.GATE_NOT_MET
    assert "the owner is the other side now" in str(error)
    with road.stage.shop.transaction():
        road.stage.shop.execute("SELECT set_config('strangle.applying', 'row', true)")
        road.stage.shop.execute("UPDATE orders_order SET note = 'spoiled' WHERE id = 5")
    road.refused("strangle_verify")
    assert road.run("strangle_repair")["evidence"]["written"]["orders_order"] == 1
    assert road.settled() == []


def test_a_difference_of_the_owner_s_own_table_is_not_repaired(road: Road, monkeypatch: Any) -> None:
    """The way back gives other rows than the owner has: a mistake of the playbook, which no repair may carry over."""
    from django.db.models import F

    from migration_tools.playbook import Projection
    from playbooks.orders import Orders

    order, line = Orders.projections
    wrong = Projection(
        line.model,
        into=line.into,
        key=line.key,
        columns=line.columns,
        reverse={**line.reverse, "quantity": F("qty") + 1},
    )
    monkeypatch.setattr(Orders, "projections", [order, wrong])
    road.go("strangle_dual_write", "strangle_backfill")
    road.refused("strangle_verify")
    error = road.refused("strangle_repair")
    assert "the way back into ['orders_orderline'] gives other rows than the owner has" in str(error)
    assert "correct `reverse`" in str(error)
