"""Who holds the horizon back is named, with a remedy, and without a value of what it does."""

import logging
from typing import Any

import pytest

from migration_tools.messaging.horizon import HorizonWatch, horizon, query_kind
from migration_tools.stores.postgres import connect
from tests.races.scene import NEW_EVENT, open_transaction


@pytest.fixture
def impatient(settings: Any) -> None:
    """Every transaction counts as old."""
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "HORIZON_WARN_SECONDS": 0.0}


def test_the_oldest_transaction_is_named_by_process_application_role_age_and_kind_of_query(stage: Any) -> None:
    with open_transaction(stage) as conn, connect("default", "watch") as watch:
        conn.execute("SET application_name = 'reports'")
        conn.execute("/* a comment */ UPDATE orders_order SET note = 'secret' WHERE id = 1")
        for number in range(5):
            stage.shop.execute(NEW_EVENT, [str(number)])
        found = horizon(watch)
        assert found is not None
        assert (found.pid, found.application, found.role) == (conn.info.backend_pid, "reports", "shop_app")
        assert (found.state, found.query_kind) == ("idle in transaction", "UPDATE")
        assert found.transactions >= 5
        assert found.seconds is not None
        assert "secret" not in f"{found.to_json()}"
        assert f"pg_terminate_backend({conn.info.backend_pid})" in found.remedy
        conn.rollback()
        again = horizon(watch)
        assert again is None or again.pid != conn.info.backend_pid


def test_a_session_that_only_idles_in_a_transaction_without_a_snapshot_is_not_blamed(stage: Any) -> None:
    with open_transaction(stage) as conn, connect("default", "watch") as watch:
        conn.execute("SELECT 1")
        found = horizon(watch)
        assert found is None or found.pid != conn.info.backend_pid


def test_a_prepared_transaction_is_named_by_its_name(stage: Any) -> None:
    with open_transaction(stage) as conn, connect("default", "watch") as watch:
        conn.tpc_begin("left behind")
        conn.execute(NEW_EVENT, ["prepared"])
        conn.tpc_prepare()
        found = horizon(watch)
        assert found is not None
        assert found.prepared_as == "left behind"
        assert "ROLLBACK PREPARED" in found.remedy
        conn.tpc_rollback()


def test_a_role_without_the_right_to_see_it_still_names_the_session(stage: Any) -> None:
    with open_transaction(stage) as conn, stage.pair.connect("shop", "shop_owner") as watch:
        conn.execute(NEW_EVENT, ["open"])
        found = horizon(watch)
        assert found is not None
        assert (found.pid, found.role, found.seconds) == (conn.info.backend_pid, "shop_app", None)
        assert "GRANT pg_read_all_stats" in found.remedy


@pytest.mark.usefixtures("impatient")
def test_the_relay_says_it_once_a_minute_and_says_when_it_is_over(stage: Any, caplog: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("migration_tools.messaging.horizon.LOOK_EVERY_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "migration_tools.messaging.horizon")
    watch = HorizonWatch("orders")
    with connect("default", "relay") as relay:
        with open_transaction(stage) as conn:
            conn.execute("UPDATE orders_order SET note = 'secret' WHERE id = 1")
            for _ in range(3):
                watch.look(relay)
        watch.look(relay)
    first, last = (record.getMessage() for record in caplog.records)
    assert "an old transaction keeps rows alive" in first
    assert "role shop_app" in first
    assert "secret" not in first
    assert last == "relay orders: the horizon moves again"


@pytest.mark.usefixtures("impatient")
def test_status_names_it_with_the_remedy(stage: Any) -> None:
    from migration_tools.management.commands.strangle_status import _lines
    from migration_tools.phases.status import read_status

    with open_transaction(stage) as conn:
        conn.execute("UPDATE orders_order SET note = 'secret' WHERE id = 1")
        status = read_status(stage.playbook())
        pid = conn.info.backend_pid
    (line,) = [line for line in _lines("orders", status) if "source: an old transaction" in line]
    assert f"process {pid}, role shop_app, idle in transaction, last a UPDATE" in line
    assert "secret" not in str(status)


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("select 1", "SELECT"),
        ("-- who: me@example.com\n/* x */ (with a as (select 1) table a)", "WITH"),
        ("'a value'", "statement"),
        ("", "statement"),
        ("/* unfinished secret", "statement"),
    ],
)
def test_the_kind_of_a_query_holds_none_of_its_values(query: str, kind: str) -> None:
    assert query_kind(query) == kind
