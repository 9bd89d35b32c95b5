"""The operator's tools around the table: kill, rules, rollback, doctor and propose, with a fence that outranks them."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from migration_tools.routing import publishing
from migration_tools.routing.proposal import propose
from migration_tools.routing.table import ContextRoute
from tests.integration.proxy_rig import Upstream
from tests.integration.test_phases import Road, road
from tests.integration.test_proxy_command import sides

__all__ = ["road", "sides"]


def route(*args: str) -> Any:
    out = StringIO()
    call_command("strangle_route", *args, "--format", "json", stdout=out)
    return json.loads(out.getvalue())


def refused(*args: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        route(*args)
    return caught.value


def orders() -> ContextRoute:
    return publishing.current().contexts["orders"]


def test_routes_never_send_writes_to_the_side_that_the_fence_has_closed(road: Road) -> None:
    road.walk_to("switch_reads")
    before = publishing.current().version
    assert "strangle_cutover orders" in str(refused("set", "orders", "writes=new"))
    road.run("strangle_cutover")
    assert (orders().writes, orders().reads_percent) == ("new", 100)
    assert "strangle_rollback orders" in str(refused("set", "orders", "writes=old"))
    route("rollback", str(before))
    assert orders().writes == "new", "an older table had them on the monolith"
    route("rule", "orders", "new", "--cohort", "staff")
    route("kill", "orders", "--reason", "the service is slow")
    assert (orders().writes, orders().reads_percent, orders().rules) == ("new", 0, ())


def test_the_doctor_names_what_is_wrong_and_what_mends_it(
    road: Road, sides: tuple[Upstream, Upstream], settings: Any
) -> None:
    upstreams = {"monolith": str(sides[0].address), "orders": str(sides[1].address)}
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "UPSTREAMS": upstreams}
    road.walk_to("dual_write")
    publishing.report_proxy("edge", {"applied_version": publishing.current().version})
    assert route("doctor") == {"findings": []}
    publishing.set_writes("orders", "new")
    said = str(refused("doctor"))
    assert "the fence lets the old side write; run strangle_route set orders writes=old" in said
    assert "proxy 'edge' answers by version" in said
    publishing.set_writes("orders", "hold")
    sides[1].close()
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Fence" not in name]
    said = str(refused("doctor"))
    for part in ("are held since", "upstream 'orders' at", "is not in MIDDLEWARE"):
        assert part in said


def test_rules_are_added_shown_and_taken_away(road: Road) -> None:
    road.walk_to("dual_write")
    route("rule", "orders", "new", "--header", "X-Beta=1", "--method", "get", "--path", "/api/orders/products/")
    out = StringIO()
    call_command("strangle_route", "show", stdout=out)
    assert "rule 1: method GET, path /api/orders/products, header x-beta=1 -> new" in out.getvalue()
    assert "unrule" not in out.getvalue()
    route("unrule", "orders", "1")
    assert orders().rules == ()
    assert refused("rule", "orders", "new", "--header", "beta").returncode == 2
    assert "it asks for nothing" in str(refused("rule", "orders", "new"))


def test_routes_are_proposed_from_the_urlconf() -> None:
    found = {each.path: each for each in propose(["legacy_monolith.orders"])}
    assert found.keys() == {"/api/orders", "/orders", "/checkout"}
    assert len(found["/api/orders"].views) == 4
    assert not any(each.strangers for each in found.values())
    everything = {each.path: each for each in propose(["legacy_monolith.catalog"])}
    assert "legacy_monolith.orders.api.OrderList" in everything["/"].strangers
    assert [each["path"] for each in route("propose", "orders")] == ["/checkout", "/orders", "/api/orders"]
