"""The routing table as a value: parsing, changing, deciding."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_tools.errors import RoutingError
from migration_tools.routing.table import (
    BUCKETS,
    ContextRoute,
    InvalidTable,
    RoutingTable,
    bucket_of,
    difference,
    ensure_context,
    parse_document,
    released,
    side_for,
    to_document,
    with_reads,
    with_writes,
)

ORDERS = ensure_context(RoutingTable(), "orders", ["/api/orders/"], "orders")


def document(**route: Any) -> dict[str, Any]:
    return {"contexts": {"orders": {"paths": ["/api/orders/"], "service": "orders", **route}}}


def test_five_mistakes_are_five_sentences() -> None:
    wrong = document(paths=["api"], reads_percent=101, writes="both", buffer_bytes=0, raeds_percent=1)
    with pytest.raises(InvalidTable) as caught:
        parse_document(wrong)
    assert len(caught.value.mistakes) == 5
    for part in ("'api'", "101", "'both'", "buffer_bytes is 0", "did you mean 'reads_percent'?"):
        assert sum(part in mistake for mistake in caught.value.mistakes) == 1
    assert "has 5 mistakes" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([], "the table is list"),
        ({}, "contexts is None"),
        ({"contexts": {"Orders.x": {"paths": ["/a"], "service": "orders"}}}, "'Orders.x' is not usable"),
        ({"contexts": {"orders": None}}, "orders is None"),
        (document(service="monolith"), "both 'monolith'"),
        (document(paths=[]), "at least one path prefix"),
        (document(paths=["/"]), "the whole site"),
        (document(paths=["/a//b"]), "never matches"),
        (document(paths=["/a/../b"]), "never matches"),
        (document(paths=["/a?b"]), "plain prefix"),
        (document(reads_percent=True), "reads_percent is True"),
        (document(reads_percent="5"), "reads_percent is '5'"),
        (document(writes="hold"), "held_from is None"),
        (document(writes="new", held_from="old"), "not held"),
        (document(hold_deadline_seconds=60), "not below write_timeout_seconds"),
        (document(read_timeout_seconds=0), "read_timeout_seconds is 0"),
        ({"contexts": {}, "default": "a.b"}, "default is 'a.b'"),
        (
            {"contexts": {n: {"paths": ["/a"], "service": "orders"} for n in ("one", "two")}},
            "'one' and by 'two'",
        ),
    ],
)
def test_a_mistake_is_told(wrong: object, says: str) -> None:
    with pytest.raises(InvalidTable, match="has 1 mistake:") as caught:
        parse_document(wrong)
    assert says in str(caught.value)


@given(percent=st.integers(0, 100) | st.floats(0, 100), buffer=st.integers(1, 1 << 30), hold=st.booleans())
def test_a_document_round_trips(percent: float, buffer: int, hold: bool) -> None:
    table = with_reads(ORDERS, "orders", percent)
    table = replace(table, contexts={"orders": replace(table.contexts["orders"], buffer_bytes=buffer)})
    if hold:
        table = with_writes(table, "orders", "hold", now="2026-01-01T00:00:00+00:00")
    again = parse_document(json.loads(json.dumps(to_document(table))), version=table.version)
    assert again == table
    assert again.digest == table.digest


@given(key=st.text(), smaller=st.floats(0, 100), larger=st.floats(0, 100))
def test_nobody_falls_back_while_the_share_grows(key: str, smaller: float, larger: float) -> None:
    smaller, larger = sorted((smaller, larger))
    before = side_for(with_reads(ORDERS, "orders", smaller), key, "orders")
    after = side_for(with_reads(ORDERS, "orders", larger), key, "orders")
    assert (before, after) != ("new", "old")


def test_the_ends_of_the_scale_are_everybody_and_nobody() -> None:
    route = ContextRoute(paths=("/a",), service="orders")
    weights = [replace(route, reads_percent=percent).reads_weight for percent in (0, 1e-9, 50, 99.9999, 100)]
    assert weights == [0, 1, BUCKETS // 2, BUCKETS - 1, BUCKETS]


def test_buckets_are_xxh64_of_the_key() -> None:
    # The published test vector of xxh64 for the empty input, seed 0.
    assert bucket_of("") == 0xEF46DB3751D8E999 % BUCKETS


def test_a_hold_remembers_where_writes_went() -> None:
    for side in ("old", "new"):
        table = with_writes(ORDERS, "orders", side)  # type: ignore[arg-type]
        held = with_writes(table, "orders", "hold", now="1")
        assert held.contexts["orders"].writes_owner == side
        assert with_writes(held, "orders", "hold", now="2") == held
        assert released(held, "orders") == table == released(table, "orders")


def test_a_context_declared_again_keeps_its_shares() -> None:
    table = with_writes(with_reads(ORDERS, "orders", 40), "orders", "new")
    again = ensure_context(table, "orders", ["/api/orders/", "/orders/"], "sales")
    assert again.contexts["orders"] == replace(
        table.contexts["orders"], paths=("/api/orders", "/orders"), service="sales"
    )
    assert ensure_context(again, "orders", ["/api/orders", "/orders"], "sales") == again


def test_an_unknown_context_is_answered_with_the_nearest() -> None:
    with pytest.raises(RoutingError, match="no context 'ordrs'; did you mean 'orders'"):
        with_reads(ORDERS, "ordrs", 5)


def test_a_difference_is_told_fact_by_fact() -> None:
    after = with_writes(with_reads(ORDERS, "orders", 25), "orders", "new")
    assert difference(ORDERS, ORDERS) == []
    assert difference(ORDERS, after) == [
        "orders.reads_percent: 0.0 -> 25",
        'orders.writes: "old" -> "new"',
    ]
    assert 'orders.service: absent -> "orders"' in difference(RoutingTable(), ORDERS)
