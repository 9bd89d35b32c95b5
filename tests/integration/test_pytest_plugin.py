"""The fixtures that ship for tests of your own: outbox, drain, faults; each is seen to fail once."""

from typing import Any

import pytest
from django.db import transaction

from migration_tools.messaging import outbox as events
from migration_tools.stores.postgres import connect
from migration_tools.testing.outboxes import Faults, OutboxWatch, drain
from migration_tools.transfer.copy import copy_relation, whole_relations
from tests.conftest import ROOT
from tests.stage import Stage

pytest_plugins = ["pytester"]


def publish(order: int) -> None:
    events.publish("order.noted", aggregate_type="order", aggregate_id=order, payload={"id": order}, stream="orders")


def test_the_outbox_shows_what_a_transaction_that_is_still_open_published_and_captured(stage: Stage) -> None:
    from legacy_monolith.orders.models import Order

    watch = OutboxWatch()
    watch.assert_nothing_published()
    with transaction.atomic():
        publish(1)
        publish(2)
        Order.objects.filter(pk=1).update(note="x")
        assert watch.assert_published("order.noted", id=2).aggregate == "order/2"
        assert watch.touched() == ["orders_order"]
        with pytest.raises(AssertionError, match=r"0 events 'order.noted' with \{'id': 3\}, not one; published was:"):
            watch.assert_published("order.noted", id=3)
        with pytest.raises(AssertionError, match="2 events were published"):
            watch.assert_nothing_published()
        transaction.set_rollback(True)
    watch.assert_nothing_published()


def test_drain_carries_everything_over_and_refuses_an_open_transaction(stage: Stage) -> None:
    drain("orders", sender="default", receiver="orders")
    stage.shop.execute("UPDATE orders_order SET note = 'drained' WHERE id < 4")
    stage.backfill()
    stage.shop.execute("UPDATE orders_order SET note = 'drained again' WHERE id < 4")
    drain("orders", sender="default", receiver="orders")
    assert stage.differences() == []
    with transaction.atomic(), pytest.raises(RuntimeError, match="sees committed writes only"):
        drain("orders", sender="default", receiver="orders")


def test_faults_end_the_code_at_a_point_and_complain_when_it_is_never_reached(stage: Stage) -> None:
    faults = Faults()
    stage.settle()
    with faults.dies_at("copy.before_commit"), stage.ends() as ends:
        for relation in whole_relations(ends.sender, "orders"):
            list(copy_relation(ends, relation, "test"))
    assert stage.orders.execute("SELECT count(*) FROM sales_order").fetchone() == (0,)
    with pytest.raises(AssertionError, match=r"'copy\.nowhere' was never reached"), faults.dies_at("copy.nowhere"):
        pass
    seen: list[str] = []
    with faults.happens_at("copy.before_commit", lambda: seen.append("here")), connect("default", "test"):
        stage.backfill()
    assert seen
    assert stage.differences() == []


def test_the_fixtures_are_found_in_a_project_that_has_the_plugin(
    pytester: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(
        """
        def test_faults(faults):
            assert faults.dies_at
        """
    )
    done = pytester.runpytest_subprocess("-p", "migration_tools.testing.plugin", "-p", "no:django", "--fixtures")
    done.stdout.fnmatch_lines(["outbox*", "drain*", "faults*"])
