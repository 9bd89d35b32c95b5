"""Tied contexts move one at a time; a replica follows its rows through their own context's migration, and after it."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError
from django.test import override_settings

from migration_tools.capture.installation import install
from migration_tools.capture.projector import RelationProjector
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.relay import tick
from migration_tools.playbook import Playbook
from migration_tools.playbook.compiled import compile_playbook
from migration_tools.playbook.ties import ties
from migration_tools.state.journal import phase_of
from migration_tools.state.models import Context
from migration_tools.state.phase import Phase
from migration_tools.stores.postgres import connect
from migration_tools.transfer.sync import TableWriter
from playbooks.catalog import Catalog
from playbooks.orders import Orders
from playbooks.payments import Payments
from playbooks.users import Users
from tests.conftest import Cluster, Pair, cloned_pair
from tests.services.road import Road, impatient, road
from tests.stage import DirectFeed

pytest_plugins = ["tests.services.rig"]


@pytest.fixture
def catalogue(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[tuple[Road, Pair]]:
    """The catalogue's road, and an orders database that has a replica of it from the same monolith."""
    with ExitStack() as stack:
        pair = stack.enter_context(cloned_pair(cluster, templates, django_db_blocker))
        way = stack.enter_context(road(cluster, templates, "catalog"))
        both = {**settings.MIGRATION_TOOLS, "PLAYBOOKS": ["playbooks.orders", "playbooks.catalog"]}
        both["UPSTREAMS"] = {**both["UPSTREAMS"], "orders": "127.0.0.1:3"}
        stack.enter_context(override_settings(MIGRATION_TOOLS=both))
        stack.enter_context(impatient(Orders))
        with connect("default", "test") as source, connect("orders", "test") as target:
            compiled = compile_playbook(Orders, source, target)
            install(source, compiled.source, wait=lambda _: None)
            install(target, compiled.target, wait=lambda _: None)
        yield way, pair


def follow() -> None:
    """Number and apply what the orders stream has of the monolith."""
    with connect("default", "test") as conn:
        tick(conn, "orders", RelationProjector())
    feed = DirectFeed("default", "default", "orders")
    try:
        consumer = Consumer("orders", feed, TableWriter(), using="orders")
        at, before = consumer.step(0), -1
        while at != before:
            at, before = consumer.step(0), at
    finally:
        feed.close()


@pytest.mark.thorough
def test_what_another_service_wrote_and_was_carried_back_reaches_the_replica(catalogue: tuple[Road, Pair]) -> None:
    way, pair = catalogue
    price = "SELECT price_cents FROM sales_product WHERE id = 3"
    with pair.connect("orders") as orders:
        way.shop.execute("UPDATE catalog_product SET price = 5.55 WHERE id = 3")
        follow()
        assert orders.execute(price).fetchone() == (555,)
        way.go("strangle_dual_write", "strangle_backfill", "strangle_verify", "strangle_verify")
        way.go("strangle_switch_reads --percent 100", "strangle_cutover")
        way.service.execute("UPDATE shelf_product SET price_cents = 777 WHERE id = 3")
        way.run("strangle_verify")
        assert way.shop.execute("SELECT price::text FROM catalog_product WHERE id = 3").fetchone() == ("7.77",)
        follow()
        assert orders.execute(price).fetchone() == (777,)


def test_of_two_tied_contexts_the_second_waits_unless_both_are_accepted(catalogue: tuple[Road, Pair]) -> None:
    way, _ = catalogue
    orders = Context.objects.create(name="orders", phase=Phase.SWITCH_READS)
    with pytest.raises(CommandError) as caught:
        way.run("strangle_dual_write")
    said = str(caught.value)
    assert caught.value.returncode == 4
    for part in (
        "'orders' is on its way (switch_reads)",
        "orders_orderline.product_id refers to catalog_product",
        "'orders' copies values of catalog_product into sales_product",
        "strangle_dual_write catalog --beside orders",
    ):
        assert part in said
    assert phase_of("catalog") is Phase.MONOLITH_ONLY
    assert way.shop.execute("SELECT count(*) FROM strangle_ownership WHERE context = 'catalog'").fetchone() == (0,)
    orders.phase = Phase.CUTOVER
    orders.save()
    way.run("strangle_dual_write")
    way.run("strangle_rollback")
    orders.phase, orders.move = Phase.MONOLITH_ONLY, "to dual_write"
    orders.save()
    with pytest.raises(CommandError, match="to dual_write"):
        way.run("strangle_dual_write")
    way.run("strangle_dual_write", "--beside", "orders")
    assert phase_of("catalog") is Phase.DUAL_WRITE


def test_contexts_without_a_tie_may_move_at_the_same_time() -> None:
    class Elsewhere(Playbook):
        context, source, projections = "elsewhere", "another", Catalog.projections

    assert ties(Catalog, Payments) == ties(Catalog, Elsewhere) == []
    assert (
        ties(Orders, Users)
        == ties(Users, Orders)
        == [
            "'orders' copies values of accounts_user into sales_order",
            "accounts_user.last_order_id refers to orders_order",
            "orders_order.user_id refers to accounts_user",
        ]
    )
