"""Data planes as values: what each can do, HTTPRoutes against their schema, and nothing that breaks out of a file."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_tools.errors import RoutingError
from migration_tools.kernel.planes import Plane
from migration_tools.routing.planes import gateway_api, haproxy, nginx
from migration_tools.routing.planes.capabilities import Capabilities, cannot, capabilities, markdown_table
from migration_tools.routing.planes.target import Endpoint, Target, parse_endpoint
from migration_tools.routing.rules import ReadRule
from migration_tools.routing.table import (
    BUCKETS,
    ContextRoute,
    RoutingTable,
    parse_document,
    with_context,
    with_reads,
    with_rule,
    with_shadow,
    with_writes,
)
from tests.conftest import ROOT
from tests.integration.plane_rig import documents, target_in

SCHEMA = json.loads((Path(__file__).parent / "httproute_v1.json").read_text())
TARGET = target_in("/etc/strangler")
ROUTE = ContextRoute(paths=("/api/orders",), service="orders")
ORDERS = RoutingTable(version=7, contexts={"orders": ROUTE})
HOSTILE = st.text(max_size=4).flatmap(
    lambda before: st.sampled_from(
        ['"', "\n", "\r", ";", "{", "}", "\\", " ", "\t", "#", "\0", "\x85", "%", "`", "\u017f"]
    ).flatmap(lambda bad: st.text(max_size=8).map(lambda after: f"x{before}{bad}{after}"))
)
RENDERERS: dict[str, Callable[[RoutingTable], str]] = {
    "haproxy": lambda table: "".join(haproxy.render(table, TARGET).files.values()),
    "nginx": lambda table: "".join(nginx.render(table, TARGET).values()),
    "gateway-api": lambda table: json.dumps(gateway_api.render(table, TARGET, gateway="edge"), ensure_ascii=False),
}


def routes(table: RoutingTable, **options: Any) -> list[dict[str, Any]]:
    return gateway_api.render(table, TARGET, gateway="edge", **options)


def refusals(table: RoutingTable, *, allow_unsticky: bool) -> Iterator[str]:
    """Why a gateway cannot answer by this table, counted anew."""
    for route in table.contexts.values():
        if route.reads_weight not in (0, BUCKETS) and not allow_unsticky:
            yield "not sticky"
        of_rules = [len(rule.methods or "abc") * (1 if rule.path else len(route.paths)) for rule in route.rules]
        counts = [3 * len(route.paths), *of_rules, len(route.paths)]
        if max(counts) > 64 or sum(counts) > 128 or len(counts) > 16:
            yield "too many"


def test_the_documented_table_is_the_code_s() -> None:
    assert markdown_table() in (ROOT / "proxy" / "README.md").read_text()
    assert not capabilities("nginx").hold
    assert {plane for plane in Plane if capabilities(plane).confirms} == {Plane.ENVOY, Plane.HAPROXY}


def test_what_cannot_be_held_or_confirmed_is_no_way_to_lose_time() -> None:
    for plane in Plane:
        able = capabilities(plane)
        assert able.hold or not able.confirms, "to confirm is of use for a hold"
        assert able.sticky or not (able.monotonic or able.same_buckets)
        assert set(asdict(able)) == set(Capabilities.__dataclass_fields__)


def test_each_thing_that_a_plane_cannot_do_is_said() -> None:
    table = with_shadow(with_reads(ORDERS, "orders", 25), "orders", 5)
    table = with_rule(table, "orders", ReadRule(side="new", cohort="staff"))
    said = "; ".join(cannot("gateway-api", table.contexts["orders"]))
    for part in ("for every request anew", "cannot shadow reads", "rule 1"):
        assert part in said
        with pytest.raises(RoutingError, match=part):
            routes(table)
    assert list(cannot("envoy", table.contexts["orders"])) == []
    assert len(list(cannot("gateway-api", table.contexts["orders"], allow_unsticky=True))) == 2


@settings(max_examples=20, deadline=None)
@given(document=documents(cookies=False, one_side=True), allow=st.booleans())
def test_http_routes_fit_their_schema(document: dict[str, Any], allow: bool) -> None:
    table = parse_document(document, version=3)
    said = list(refusals(table, allow_unsticky=allow))
    if said:
        with pytest.raises(RoutingError, match=r"for every request anew|at most 16"):
            routes(table, allow_unsticky=allow)
        return
    found = routes(table, allow_unsticky=allow)
    for route in found:
        jsonschema.validate(route, SCHEMA)
        rules = route["spec"]["rules"]
        assert sum(len(rule["matches"]) for rule in rules) <= 128
        assert all(sum(backend["weight"] for backend in rule["backendRefs"]) > 0 for rule in rules)
    assert len({route["metadata"]["name"] for route in found}) == len(table.contexts) + 1


def test_the_schema_is_no_rubber_stamp() -> None:
    good = routes(ORDERS)[0]
    for spoil in (
        lambda route: route["spec"].update(rules=[{"backendRefs": [{"port": 1}]}]),
        lambda route: route["spec"]["rules"][0]["timeouts"].update(request="30"),
        lambda route: route["spec"]["rules"][0]["matches"][0].update(method="FETCH"),
        lambda route: route["spec"]["rules"][0].update(sticky=True),
    ):
        bad = json.loads(json.dumps(good))
        spoil(bad)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, SCHEMA)


def test_an_http_route_has_the_weights_and_sends_writes_to_the_owner() -> None:
    table = with_writes(with_reads(ORDERS, "orders", 25), "orders", "new")
    reads, writes = routes(table, allow_unsticky=True)[0]["spec"]["rules"]
    assert [(each["name"], each["weight"]) for each in reads["backendRefs"]] == [
        ("orders", BUCKETS // 4),
        ("monolith", BUCKETS * 3 // 4),
    ]
    assert {match["method"] for match in reads["matches"]} == {"GET", "HEAD", "OPTIONS"}
    assert (writes["backendRefs"][0]["name"], "method" in writes["matches"][0]) == ("orders", False)
    held = with_writes(table, "orders", "hold", now="1")
    assert routes(held, allow_unsticky=True) == routes(table, allow_unsticky=True), "its fence refuses them"


def test_rules_whose_order_a_gateway_would_not_keep_are_refused() -> None:
    table = with_rule(ORDERS, "orders", ReadRule(side="new", headers={"x-a": "1"}))
    assert len(routes(table)[0]["spec"]["rules"]) == 3
    with pytest.raises(RoutingError, match="the most specific one instead"):
        routes(with_rule(table, "orders", ReadRule(side="old", headers={"x-a": "1", "x-b": "1"})))


def hostile_tables(text: str) -> Iterator[tuple[str, RoutingTable]]:
    """Tables as no parser let through, with the text in each place that a renderer writes."""
    yield "name", RoutingTable(contexts={text: ROUTE})
    yield "default", replace(ORDERS, default=text)
    changes: dict[str, dict[str, Any]] = {
        "path": {"paths": (f"/{text}",)},
        "service": {"service": text},
        "old": {"old": text},
        "writes": {"writes": text},
        "held_from": {"writes": "hold", "held_from": text},
        "held_at": {"writes": "hold", "held_from": "old", "held_at": text},
    }
    rules: dict[str, dict[str, Any]] = {
        "rule path": {"path": f"/api/orders/{text}"},
        "header": {"headers": {text: "1"}},
        "header value": {"headers": {"x-a": text}},
        "cookie": {"cookies": {text: "1"}},
        "cookie value": {"cookies": {"a": text}},
        "cohort": {"cohort": text},
        "method": {"methods": (text,)},
    }
    for where, values in changes.items():
        yield where, with_context(ORDERS, "orders", replace(ROUTE, **values))
    for where, values in rules.items():
        yield where, with_context(ORDERS, "orders", replace(ROUTE, rules=(ReadRule(side="new", **values),)))
    yield "rule side", with_context(ORDERS, "orders", replace(ROUTE, rules=(ReadRule(side=text, cohort="a"),)))  # type: ignore[arg-type]


@given(text=HOSTILE)
def test_no_text_of_a_table_breaks_out_of_a_file(text: str) -> None:
    for where, table in hostile_tables(text):
        for name, render in RENDERERS.items():
            try:
                found = render(table)
            except RoutingError:
                continue
            assert where == "held_at", f"{where} was rendered for {name}: {text!r}"
            assert text not in found or len(text) < 4


@given(text=HOSTILE)
def test_no_setting_breaks_out_of_a_file(text: str) -> None:
    with pytest.raises(RoutingError, match="not usable"):
        Target(directory=f"/{text}")
    for address in (f"{text}:80", f"host:{text}", f"{text}", f"h:8{text}"):
        with pytest.raises(RoutingError, match="not usable"):
            parse_endpoint(address)


def test_addresses_are_read() -> None:
    assert parse_endpoint("orders.shop.svc:8000") == Endpoint(host="orders.shop.svc", port=8000)
    assert str(parse_endpoint("[::1]:80")) == "[::1]:80"


@pytest.mark.parametrize("render", [haproxy.render, nginx.render])
def test_upstreams_that_no_setting_names_are_told(render: Any) -> None:
    with pytest.raises(RoutingError, match="'billing' is not in MIGRATION_TOOLS"):
        render(with_context(ORDERS, "bills", replace(ROUTE, paths=("/b",), service="billing")), TARGET)
