"""Rules over the real Envoy: every request goes where Python says it goes, for random tables and requests."""

import random

import pytest

from migration_tools.routing.own_writes.token import new_name
from migration_tools.routing.rules import ReadRule
from migration_tools.routing.table import (
    RoutingTable,
    reader_side,
    user_bucket_key,
    with_reads,
    with_rule,
    with_writes,
)
from tests.integration.proxy_rig import Rig, rig

PATHS = ("/api/orders/", "/api/orders/search", "/api/orders/search/deep", "/api/orders/searching", "/api/orders/7/")
HEADERS = ({}, {"x-beta": "1"}, {"x-beta": "0"}, {"x-beta": "1", "x-client": "ios.app"})
COOKIES = ({}, {"beta": "yes"}, {"beta": "yes2"}, {"sx_cohort": "staff"}, {"sx_cohort": "staff", "beta": "yes"})
NEARLY_TOKENS = (
    new_name("orders"),
    new_name("orders"),
    new_name("orders_x"),
    f"x{new_name('orders')}",
    f"{new_name('orders')}0",
    "sx_after_orders_",
)


def random_rule(choose: random.Random) -> ReadRule:
    return ReadRule(
        side=choose.choice(["old", "new"]),
        methods=choose.choice([("GET",), ("GET", "HEAD"), ("HEAD", "OPTIONS")]),
        path=choose.choice(["", "/api/orders/search", "/api/orders"]),
        headers=choose.choice([{}, {"x-beta": "1"}, {"x-client": "ios.app"}]),
        cookies=choose.choice([{}, {"beta": "yes"}]),
        cohort=choose.choice(["", "staff"]),
    )


def asked(proxy: Rig, method: str, path: str, headers: dict[str, str], cookies: dict[str, str]) -> str:
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    answer = proxy.ask(method, path, {**headers, **({"Cookie": cookie} if cookie else {})})
    return answer.header("x-side")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in (1, 2))])
def test_envoy_and_python_decide_alike(seed: int) -> None:
    choose = random.Random(seed)

    def table(before: RoutingTable) -> RoutingTable:
        after = with_reads(before, "orders", choose.choice([0, 30, 100]))
        after = with_writes(after, "orders", choose.choice(["old", "new"]))
        for _ in range(choose.randrange(1, 5)):
            after = with_rule(after, "orders", random_rule(choose))
        return after

    sides = set()
    with rig() as proxy:
        proxy.publish(table)
        for _ in range(250):
            method, path = choose.choice(["GET", "GET", "HEAD", "OPTIONS"]), choose.choice(PATHS)
            headers, cookies = choose.choice(HEADERS), dict(choose.choice(COOKIES))
            cookies["sx_bucket"] = choose.choice([str, user_bucket_key])(choose.randrange(10_000))
            if choose.random() < 0.1:
                cookies["sx_pin_orders"] = choose.choice(["1", "1", "11", "0"])
            if choose.random() < 0.2:
                cookies[choose.choice(NEARLY_TOKENS)] = "monolith.7.1."
            expected = reader_side(proxy.table, "orders", method=method, path=path, headers=headers, cookies=cookies)
            found = asked(proxy, method, path, headers, cookies)
            assert found == expected, (seed, method, path, headers, cookies, proxy.table.contexts["orders"])
            sides.add(found)
    assert len(sides) == 2, "a table that sends everybody to one side shows nothing; choose another seed"


def test_a_write_heeds_no_rule() -> None:
    with rig() as proxy:
        proxy.publish(lambda table: with_rule(table, "orders", ReadRule(side="new", headers={"x-beta": "1"})))
        assert proxy.ask("GET", "/api/orders/", {"x-beta": "1"}).side == "new"
        assert proxy.ask("POST", "/api/orders/", {"x-beta": "1"}, b"x").side == "old"
        assert proxy.ask("GET", "/api/orders/", {"x-beta": "2"}).side == "old"
