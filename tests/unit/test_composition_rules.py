"""What needs no service: a composition's mistakes, the breaker under any schedule, batches, budgets and ids."""

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_tools.composition import budget, checks
from migration_tools.composition.batch import BadIds, parse_ids
from migration_tools.composition.budget import Budget, ChainTooDeep, DeadlineExceeded
from migration_tools.composition.declaration import Composition, Part, declared
from migration_tools.composition.loader import Loader
from migration_tools.composition.protection import Breaker, Circuit
from migration_tools.errors import CompositionError


def test_all_mistakes_of_a_composition_are_told_at_once() -> None:
    with pytest.raises(CompositionError) as refused:
        Composition(
            "wrong",
            [
                Part(name="a", source="s", path="/a/", after=("b",)),
                Part(name="b", source="s", path="/b/", after=("a", "c"), timeout_seconds=9),
                Part(name="b", source="s", path="no-slash"),
                Part(name="_e", source="s", required=True, fallback=[]),
            ],
            calls_at_most=0,
        )
    told = str(refused.value)
    for each in (
        "calls_at_most is 0", "part 'b' is declared 2 times", "comes after 'c', which is no part", "timeout_seconds 9",
        "path 'no-slash'; it begins with /", "part '_e'; a part's name", "part '_e' has no path",
        "part '_e' is required and has a fallback",
    ):  # fmt: skip
        assert each in told, told
    with pytest.raises(CompositionError, match=r"parts wait for each other: (a -> b -> a|b -> a -> b)"):
        Composition("circle", [Part(name="a", source="s", path="/", after=("b",)),
                               Part(name="b", source="s", path="/", after=("a",))])  # fmt: skip


def test_a_source_without_address_and_a_gateway_to_everything_are_told(settings: Any) -> None:
    before = list(declared)
    declared.clear()
    try:
        Composition("all", [Part(name=f"p{number}", source=f"s{number}", path="/") for number in range(7)])
        services = {f"s{number}": "http://s" for number in range(6)}
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SERVICES": services}
        found = checks.check_gateway(None)
    finally:
        declared[:] = before
    assert [each.id for each in found] == ["strangle.E100", "strangle.W101"]
    assert "asks source 's6'" in found[0].msg


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ok", "bad", "gone"]), st.floats(0, 3)), max_size=60))
def test_a_breaker_never_asks_while_open_and_always_tries_again(schedule: list[tuple[str, float]]) -> None:
    breaker, now, row, opened = Breaker(failures=3, open_seconds=2.0), 0.0, 0, None
    for what, pause in schedule:
        now += pause
        admitted = breaker.admit(now)
        assert admitted == (opened is None or now - opened >= 2.0)
        if not admitted:
            continue
        trying = opened is not None
        assert (breaker.state is Circuit.TRYING) == trying
        if trying:
            assert not breaker.admit(now), "one call tries, nobody else"
        match what:
            case "ok":
                breaker.succeeded()
                row, opened = 0, None
            case "bad":
                breaker.failed(now)
                row += 1
                opened = now if trying or row >= 3 else None
            case "gone":
                breaker.abandoned(now)
                opened = now - 2.0 if trying else None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=8), st.integers(1, 7))
def test_a_loader_asks_for_each_id_once_and_never_for_too_many(wanted: list[list[int]], largest: int) -> None:
    asked: list[list[int]] = []

    async def fetch(ids: list[int]) -> Any:
        asked.append(ids)
        return [{"id": each, "square": each * each} for each in ids if each % 3]

    async def run() -> list[dict[int, Any]]:
        loader = Loader(fetch, largest=largest)
        return list(await asyncio.gather(*(loader.load(ids) for ids in wanted)))

    rows = asyncio.run(run())
    every = [each for ids in asked for each in ids]
    assert sorted(every) == sorted({each for ids in wanted for each in ids})
    assert all(len(ids) <= largest for ids in asked)
    assert len(asked) == -(-len(every) // largest)
    for ids, found in zip(wanted, rows, strict=True):
        assert {each: row["square"] for each, row in found.items()} == {each: each * each for each in ids if each % 3}


def test_a_failed_batch_fails_all_who_wait_and_is_asked_anew() -> None:
    answers: list[Any] = [ValueError("gone"), [{"id": 1}]]

    async def fetch(ids: list[int]) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run() -> Any:
        loader = Loader(fetch)
        failed = await asyncio.gather(loader.load([1]), loader.load([1]), return_exceptions=True)
        return failed, await loader.load([1])

    failed, found = asyncio.run(run())
    assert [str(error) for error in failed] == ["gone", "gone"]
    assert found == {1: {"id": 1}}


def test_a_budget_travels_as_what_is_left_and_only_shrinks() -> None:
    given_headers = Budget(ends=time.monotonic() + 5, depth=1).headers()
    assert 4900 < int(given_headers["X-Deadline-Ms"]) <= 5000
    assert given_headers["X-Chain-Depth"] == "2"
    assert budget.read(given_headers, 60).depth == 2
    assert 4.8 < budget.read(given_headers, 60).left <= 5
    assert budget.read(given_headers, 1).left <= 1
    with pytest.raises(DeadlineExceeded):
        budget.read({"X-Deadline-Ms": "0"}, 1)
    with pytest.raises(ChainTooDeep, match="CHAIN_DEPTH_MAXIMUM is 5"):
        budget.read({"X-Chain-Depth": "6"}, 1)
    for nonsense in ("", "-5", "1e9", "٣", "9" * 40):
        assert budget.read({"X-Deadline-Ms": nonsense, "X-Chain-Depth": nonsense}, 2).depth == 0


@pytest.mark.parametrize(
    ("text", "expected"), [("3,1,3,2", [3, 1, 2]), ("", []), (",5,", [5]), ("1,x", None), ("1," * 101, None)]
)
def test_ids_are_read_once_each_and_bounded(text: str, expected: list[int] | None) -> None:
    if expected is None:
        with pytest.raises(BadIds):
            parse_ids(text, int)
    else:
        assert parse_ids(text, int) == expected
