"""Composing answers from services over real HTTP: time, parts, failures, calls, and what is handed on."""

import itertools
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import pytest

from migration_tools.composition import calls, loop
from migration_tools.composition.budget import Budget
from migration_tools.composition.composing import Composed, compose
from migration_tools.composition.declaration import Asking, Composition, Part, declared
from migration_tools.composition.fields import BadFields, parse_fields
from migration_tools.composition.problems import CallBudgetSpent, PartFailed, document_of
from migration_tools.composition.report import BudgetReport, Outcome
from tests.integration.proxy_rig import await_until
from tests.leaf import Leaf, elapsed, serving

ORDERS = 100
# A slow machine must not be taken for a slow service.
PATIENT_SECONDS = 20.0


def customer(path: str, query: Mapping[str, str], _: Any) -> tuple[int, Any]:
    number = int(path.rstrip("/").rpartition("/")[2])
    return (200, {"id": number, "name": f"Customer {number}"}) if number < 1000 else (404, {})


def orders(path: str, query: Mapping[str, str], _: Any) -> tuple[int, Any]:
    mine = range(ORDERS) if query["customer"] == "1" else ()
    return 200, [{"id": number, "product": number % 50, "total": number * 3} for number in mine]


def products(path: str, query: Mapping[str, str], _: Any) -> tuple[int, Any]:
    if "ids" in query:
        return 200, [{"id": int(each), "name": f"Thing {each}"} for each in query["ids"].split(",")]
    number = int(path.rstrip("/").rpartition("/")[2])
    return 200, {"id": number, "name": f"Thing {number}"}


def recommendations(path: str, query: Mapping[str, str], _: Any) -> tuple[int, Any]:
    return 200, [7, 8]


@pytest.fixture
def leaves(settings: Any) -> Iterator[dict[str, Leaf]]:
    """Four services; breakers and connections are new, since the ports are."""
    with serving(users=customer, orders=orders, catalog=products, recommendations=recommendations) as made:
        services = {name: leaf.url for name, leaf in made.items()}
        patient = {"SERVICES": services, "DEADLINE_SECONDS": PATIENT_SECONDS}
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, **patient}
        before = list(declared)
        yield made
        declared[:] = before


def dashboard(**changes: Any) -> Composition:
    """The seeds' GET /customers/123/dashboard."""
    return Composition(
        "dashboard",
        [
            Part(name="customer", source="users", path="/users/{customer}/", required=True, attempts=1),
            Part(name="recent_orders", source="orders", path="/orders/", params={"customer": "{customer}"}, fallback=[],
                 attempts=1),
            Part(name="recommendations", source="recommendations", path="/recommendations/{customer}/", fallback=[],
                 attempts=1),
        ],
        **{"deadline_seconds": PATIENT_SECONDS, **changes},
    )  # fmt: skip


def ask(composition: Composition, who: int = 1, **more: Any) -> Composed:
    return compose(composition, {"customer": who}, caller=str(who), **more)


def test_the_latency_is_that_of_the_slowest_part_and_not_the_sum(leaves: dict[str, Leaf]) -> None:
    composition = dashboard()
    ask(composition)
    for name, delay in (("users", 0.4), ("orders", 0.5), ("recommendations", 0.6)):
        leaves[name].delay_seconds = delay
    seconds, answer = min((elapsed(lambda: ask(composition)) for _ in range(3)), key=lambda tried: tried[0])
    assert 0.6 <= seconds < 1.4 < 0.4 + 0.5 + 0.6
    assert answer.complete
    assert answer.values["customer"] == {"id": 1, "name": "Customer 1"}
    assert len(answer.values["recent_orders"]) == ORDERS


def test_the_report_matches_the_injected_delays_and_names_what_the_total_waited_for(leaves: dict[str, Leaf]) -> None:
    composition = Composition(
        "chain",
        [
            Part(name="customer", source="users", path="/users/{customer}/"),
            Part(name="recent_orders", source="orders", path="/orders/", params={"customer": "{customer}"}),
            Part(name="things", source="catalog", path="/products/", after=("recent_orders",),
                 ids=lambda got: [order["product"] for order in got["recent_orders"]]),
        ],
        deadline_seconds=PATIENT_SECONDS,
    )  # fmt: skip
    ask(composition)
    for name, delay in (("users", 0.2), ("orders", 0.4), ("catalog", 0.3)):
        leaves[name].delay_seconds = delay
    reports = [ask(composition).report for _ in range(4)]
    # Of each the least: whatever else the machine does adds to one or the other.
    took = {name: min(took_ms(report, name) for report in reports) for name in ("customer", "recent_orders", "things")}
    for name, injected in (("customer", 200), ("recent_orders", 400), ("things", 300)):
        assert injected <= took[name] < injected + 150, took
    report = min(reports, key=lambda report: report.total_ms)
    assert 700 <= report.total_ms < 700 + 250
    assert report.critical_path == ["recent_orders", "things"]
    assert report.calls == {"users": 1, "orders": 1, "catalog": 1}
    assert "things;dur=" in report.server_timing()


def took_ms(report: BudgetReport, name: str) -> float:
    return next(part.took_ms for part in report.parts if part.name == name)


@pytest.mark.parametrize("down", list(itertools.product([False, True], repeat=3)), ids=str)
def test_each_of_the_eight_ways_to_fail_in_part_has_its_answer(leaves: dict[str, Leaf], down: tuple[bool, ...]) -> None:
    composition = dashboard()
    for name, gone in zip(("users", "orders", "recommendations"), down, strict=True):
        if gone:
            leaves[name].stop()
    seconds, answer = elapsed(lambda: ask(composition))
    assert seconds < PATIENT_SECONDS / 2, "who is away is no reason to wait"
    if down[0]:
        assert isinstance(answer, PartFailed)
        assert document_of(answer) == {
            "type": "about:blank", "title": "Bad Gateway", "status": 502, "part": "customer", "source": "users",
            "detail": "'dashboard' has no answer without 'customer': "
            "source 'users' cannot be reached (ConnectError)",
        }  # fmt: skip
        return
    shown = answer.document()
    assert shown["customer"]["name"] == "Customer 1"
    assert len(shown["recent_orders"]) == (0 if down[1] else ORDERS)
    assert shown["recommendations"] == ([] if down[2] else [7, 8])
    said = [(error["part"], error["status"], error["outcome"]) for error in shown.get("_errors", [])]
    optional = zip(("recent_orders", "recommendations"), down[1:], strict=True)
    assert said == [(name, 502, "fallback") for name, gone in optional if gone]


@pytest.mark.parametrize(
    ("who", "expected"),
    [(1, ORDERS), (2, 0), (1000, HTTPStatus.NOT_FOUND)],
    ids=["orders", "no orders is an answer", "no such customer"],
)
def test_empty_is_an_answer_and_missing_is_a_404(leaves: dict[str, Leaf], who: int, expected: int) -> None:
    if expected is HTTPStatus.NOT_FOUND:
        with pytest.raises(PartFailed) as failed:
            ask(dashboard(), who)
        assert failed.value.status == HTTPStatus.NOT_FOUND
    else:
        answer = ask(dashboard(), who)
        assert answer.complete
        assert len(answer.values["recent_orders"]) == expected


def joined(fetch: Any = None) -> Composition:
    """Orders with their products: by ids, or the way that `fetch` goes."""
    how = (
        {"ids": lambda got: [order["product"] for order in got["recent_orders"]], "path": "/products/"}
        if fetch is None
        else {"fetch": fetch}
    )
    return Composition(
        "orders with products",
        [
            Part(name="recent_orders", source="orders", path="/orders/", params={"customer": "{customer}"}),
            Part(name="things", source="catalog", after=("recent_orders",), **how),
        ],
        deadline_seconds=PATIENT_SECONDS,
        calls_at_most=2,
    )


def test_a_hundred_orders_with_their_products_cost_two_calls(leaves: dict[str, Leaf]) -> None:
    answer = ask(joined())
    assert len(answer.values["recent_orders"]) == 100
    assert answer.values["things"][49] == {"id": 49, "name": "Thing 49"}
    assert len(answer.values["things"]) == 50
    assert [len(leaf.calls) for leaf in (leaves["orders"], leaves["catalog"])] == [1, 1]


def test_one_call_a_row_is_refused_by_the_declared_number_of_calls(leaves: dict[str, Leaf]) -> None:
    async def one_by_one(asking: Asking, got: Mapping[str, Any]) -> Any:
        return [await asking.get("catalog", f"/products/{order['product']}/") for order in got["recent_orders"]]

    with pytest.raises(CallBudgetSpent, match="makes call 3 of 2"):
        ask(joined(one_by_one))
    assert len(leaves["catalog"].calls) == 1


def test_parts_that_ask_for_rows_at_the_same_time_share_one_call(leaves: dict[str, Leaf]) -> None:
    parts = [
        Part(name=f"things{number}", source="catalog", path="/products/", ids=lambda got, n=number: [n, n + 1])
        for number in range(5)
    ]
    answer = ask(Composition("several", parts, deadline_seconds=PATIENT_SECONDS, calls_at_most=1))
    assert answer.values["things4"] == {4: {"id": 4, "name": "Thing 4"}, 5: {"id": 5, "name": "Thing 5"}}
    assert [path for _, path, _ in leaves["catalog"].calls] == ["/products/?ids=0%2C1%2C2%2C3%2C4%2C5"]


def test_only_the_sources_of_the_asked_fields_are_called(leaves: dict[str, Leaf]) -> None:
    composition = dashboard()
    answer = ask(composition, fields=parse_fields("recent_orders.id,recommendations", composition))
    assert answer.document().keys() == {"recent_orders", "recommendations"}
    assert answer.values["recent_orders"][3] == {"id": 3}
    assert leaves["users"].calls == []
    with pytest.raises(BadFields, match=r"may have \['customer', 'recent_orders', 'recommendations'\]"):
        parse_fields("customer,stock", composition)


def test_what_a_field_needs_is_asked_but_not_shown(leaves: dict[str, Leaf]) -> None:
    composition = joined()
    answer = ask(composition, fields=parse_fields("things", composition))
    assert answer.document().keys() == {"things"}
    assert len(leaves["orders"].calls) == 1


def keeping() -> Composition:
    return Composition(
        "keeping",
        [Part(name="mine", source="orders", path="/orders/", params={"customer": "{customer}"}, required=True,
              stale_seconds=60, attempts=1)],
        deadline_seconds=PATIENT_SECONDS,
    )  # fmt: skip


def test_an_older_answer_takes_the_place_of_a_failing_source_and_says_its_age(leaves: dict[str, Leaf]) -> None:
    composition = keeping()
    ask(composition)
    leaves["orders"].always = 500
    answer = ask(composition)
    assert len(answer.values["mine"]) == ORDERS
    [error] = answer.document()["_errors"]
    assert (error["outcome"], error["status"]) == ("stale", 502)
    assert 0 <= answer.document()["_stale"]["mine"] < 60
    assert answer.report.parts[0].outcome is Outcome.STALE


def test_one_callers_answer_is_never_kept_for_another(leaves: dict[str, Leaf]) -> None:
    composition = keeping()
    compose(composition, {"customer": 1}, caller="ada")
    leaves["orders"].always = 500
    with pytest.raises(PartFailed):
        compose(composition, {"customer": 1}, caller="mallory")


def test_an_answer_that_its_source_disowned_does_not_come_back(leaves: dict[str, Leaf]) -> None:
    composition = keeping()
    ask(composition)
    leaves["orders"].always = 404
    with pytest.raises(PartFailed) as missing:
        ask(composition)
    assert missing.value.status == HTTPStatus.NOT_FOUND
    leaves["orders"].always = 500
    with pytest.raises(PartFailed) as failing:
        ask(composition)
    assert failing.value.status == HTTPStatus.BAD_GATEWAY


def test_a_passing_failure_is_asked_again_and_a_meant_one_is_not(leaves: dict[str, Leaf]) -> None:
    part = Part(name="customer", source="users", path="/users/{customer}/", attempts=3)
    composition = Composition("again", [part], deadline_seconds=PATIENT_SECONDS)
    leaves["users"].failing = [503, 503]
    assert ask(composition).complete
    assert len(leaves["users"].calls) == 3
    leaves["users"].failing = [500]
    assert not ask(composition).complete
    assert len(leaves["users"].calls) == 4


def test_a_source_that_fails_is_left_alone_for_a_moment_and_then_tried_by_one(leaves: dict[str, Leaf]) -> None:
    composition = dashboard()
    leaves["recommendations"].always = 500
    ask(composition)
    [source] = [s for (_, name, url), s in calls._sources.items() if url == leaves["recommendations"].url]
    source.breaker.open_seconds = 60.0
    for _ in range(7):
        ask(composition)
    assert len(leaves["recommendations"].calls) == 5
    assert len(leaves["users"].calls) == 8
    leaves["recommendations"].always = None
    source.breaker.open_seconds = 0.0
    assert ask(composition).complete


def test_a_full_bulkhead_refuses_at_once_and_leaves_the_others_alone(leaves: dict[str, Leaf], settings: Any) -> None:
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SERVICE_CALLS_AT_ONCE": 4}
    composition = dashboard()
    leaves["recommendations"].delay_seconds = 3 * PATIENT_SECONDS
    with ThreadPoolExecutor(12) as pool:
        asking = [pool.submit(ask, composition, who, fields={"recommendations": None}) for who in range(12)]
        await_until(lambda: sum(each.done() for each in asking) == 8, what="eight were refused")
        await_until(lambda: leaves["recommendations"].most_together >= 4, what="four have arrived")
        leaves["recommendations"].hurry()
        answers = [each.result() for each in asking]
    assert leaves["recommendations"].most_together == 4
    details = [error["detail"] for answer in answers for error in answer.errors]
    assert details == ["source 'recommendations' has 4 calls under way already"] * 8


def test_while_one_leaf_is_slow_the_others_answer_as_fast_as_ever(leaves: dict[str, Leaf]) -> None:
    leaves["recommendations"].delay_seconds = 0.6
    slow = Composition("slow", [Part(name="r", source="recommendations", path="/r/", timeout_seconds=0.5, attempts=1)])
    quick = Composition("quick", [Part(name="c", source="users", path="/users/1/")], deadline_seconds=PATIENT_SECONDS)
    compose(quick, {}, caller="")
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(compose, slow, {}, caller="") for _ in range(8)]
        times = sorted(elapsed(lambda: compose(quick, {}, caller=""))[0] for _ in range(60))
        assert [len(each.result().errors) for each in waiting] == [1] * 8
    # Three in four: a hiccup of the machine is none of its business, a queue behind the slow one would show in all.
    assert times[45] < 0.2, times


def test_a_request_whose_time_is_up_asks_nobody(leaves: dict[str, Leaf]) -> None:
    composition = dashboard()
    with pytest.raises(PartFailed) as failed:
        ask(composition, budget=Budget(ends=time.monotonic() - 1))
    assert failed.value.status == HTTPStatus.GATEWAY_TIMEOUT
    assert all(not leaf.calls for leaf in leaves.values())


def test_sync_views_of_many_threads_share_one_loop_and_its_connections(leaves: dict[str, Leaf]) -> None:
    composition = dashboard()
    with ThreadPoolExecutor(8) as pool:
        assert all(answer.complete for answer in pool.map(lambda _: ask(composition), range(40)))
    assert loop.running() is loop.running()
    assert len(leaves["users"].calls) == 40
