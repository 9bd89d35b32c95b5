"""A decommission undone after the service went on alone, and a verification's move that was cut off."""

import pytest

from migration_tools.state.journal import phase_of
from tests.integration.test_phases import ROAD, Road, road
from tests.operators import killed

__all__ = ["road"]


@pytest.mark.thorough
def test_what_ended_moved_or_was_renamed_while_the_old_tables_were_away_comes_back(road: Road) -> None:
    """Each of the three once left a rollback that failed for good, or a difference."""
    road.go(*ROAD)
    with road.stage.orders.transaction():
        # An order ends with its line: the old table's line would still refer to it.
        road.stage.orders.execute(
            "DELETE FROM sales_orderitem WHERE order_public_id = (SELECT public_id FROM sales_order WHERE id = 7)"
        )
        road.stage.orders.execute("DELETE FROM sales_order WHERE id = 7")
        # Lines move to another order and the one they leave ends: they still stand, but not where the old table says.
        road.stage.orders.execute(
            "UPDATE sales_orderitem SET order_public_id = (SELECT public_id FROM sales_order WHERE id = 9) "
            "WHERE order_public_id = (SELECT public_id FROM sales_order WHERE id = 8)"
        )
        road.stage.orders.execute("DELETE FROM sales_order WHERE id = 8")
    # Nobody captures the monolith's customers now.
    road.stage.shop.execute("UPDATE accounts_user SET last_name = 'Renamed' WHERE id = 3")
    evidence = road.run("strangle_rollback")["evidence"]
    assert evidence["stale_rows"] >= 4
    assert evidence["echoes"] >= 1
    assert road.settled() == []
    names = "SELECT DISTINCT customer_name FROM sales_order WHERE customer_id = 3"
    assert road.stage.orders.execute(names).fetchall() == [("Ünï3 Renamed",)]


@pytest.mark.thorough
def test_a_verification_cut_off_while_it_entered_its_phase_is_completed_by_the_same_command(road: Road) -> None:
    road.go(*ROAD[:2])
    killed(road.pair, "strangle_verify", "machine.worked")
    assert phase_of("orders") == "backfill"
    road.go("strangle_verify")
    assert phase_of("orders") == "verify"
