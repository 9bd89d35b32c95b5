"""Rules of the routing table: their mistakes in sentences, and what they match."""

import pytest

from migration_tools.errors import RoutingError
from migration_tools.routing.rules import ReadRule
from migration_tools.routing.table import (
    ContextRoute,
    InvalidTable,
    RoutingTable,
    parse_document,
    reader_side,
    to_document,
    with_rule,
    without_rule,
)

ORDERS = RoutingTable(contexts={"orders": ContextRoute(paths=("/api/orders",), service="orders")})


def document(rule: object) -> dict[str, object]:
    return {"contexts": {"orders": {"paths": ["/api/orders"], "service": "orders", "rules": [rule]}}}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"side": "new"}, "it asks for nothing"),
        ({"side": "both", "cohort": "a"}, "must be 'old' or 'new'"),
        ({"side": "new", "methods": ["POST"]}, "may write, and writes go to the owner"),
        ({"side": "new", "path": "/products"}, "so it never matches"),
        ({"side": "new", "path": "search"}, "write a plain prefix"),
        ({"side": "new", "headers": {"X-Beta": "1"}}, "headers in lower case"),
        ({"side": "new", "headers": {"x-beta": "a\nb"}}, "plain letters"),
        ({"side": "new", "cookies": {"a b": "1"}}, "is not usable"),
        ({"side": "new", "cookie": {"a": "1"}}, "unknown key 'cookie'"),
        ("new", "must be an object"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(rule: object, said: str) -> None:
    with pytest.raises(InvalidTable, match="rule 1"):
        parse_document(document(rule))
    with pytest.raises(InvalidTable) as caught:
        parse_document(document(rule))
    assert said in str(caught.value)


def test_rules_survive_their_document_and_can_be_taken_away() -> None:
    rule = ReadRule(side="new", methods=("GET",), path="/api/orders/search", headers={"x-beta": "1"}, cohort="staff")
    table = with_rule(ORDERS, "orders", rule)
    assert parse_document(to_document(table)) == table
    assert without_rule(table, "orders", 1) == ORDERS
    assert (
        to_document(ORDERS)["contexts"]["orders"].keys()
        == to_document(without_rule(table, "orders", 1))["contexts"]["orders"].keys()
    )
    with pytest.raises(RoutingError, match="there is no rule 2"):
        without_rule(table, "orders", 2)


def test_whoever_has_just_written_reads_from_the_owner_whatever_the_rules_say() -> None:
    table = with_rule(ORDERS, "orders", ReadRule(side="new", cohort="staff"))

    def ask(**cookies: str) -> object:
        return reader_side(table, "orders", method="GET", path="/api/orders/", headers={}, cookies=cookies)

    assert ask(sx_cohort="staff") == "new"
    assert ask(sx_cohort="staff", sx_pin_orders="1") == "old"
    assert ask() == "old"
