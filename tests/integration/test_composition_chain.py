"""Five services that ask each other over real HTTP: the depth is bounded, and a slow one ends all in time."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from migration_tools.composition import budget
from migration_tools.composition.budget import Budget
from migration_tools.composition.composing import compose
from migration_tools.composition.declaration import Composition, Part, declared
from migration_tools.composition.problems import PartFailed
from tests.integration.proxy_rig import await_until
from tests.leaf import Leaf, elapsed, serving

# A slow machine has to get through all five in that time.
DEADLINE_SECONDS = 3.0


def chain_of(depth: int, urls: list[str]) -> Callable[..., tuple[int, Any]]:
    """A service that asks the next one, as a Django service with BudgetMiddleware does."""

    def answer(path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, Any]:
        try:
            given = budget.read(headers, 10)
        except budget.ChainTooDeep as error:
            return 508, {"detail": str(error)}
        except budget.DeadlineExceeded as error:
            return 504, {"detail": str(error)}
        next_one = f"chain{depth + 1}"
        if depth + 1 == len(urls):
            return 200, {"depth": given.depth}
        part = Part(name="next", source=next_one, path="/", required=True, attempts=1, timeout_seconds=10)
        try:
            composition = Composition(f"link {depth}", [part], deadline_seconds=10)
            return 200, compose(composition, {}, caller="", budget=given).values["next"]
        except PartFailed as failed:
            return failed.status, {"detail": str(failed)}

    return answer


@pytest.fixture
def chain(settings: Any) -> Iterator[list[Leaf]]:
    """Five services, each of which asks the next."""
    urls = [""] * 5
    with serving(**{f"chain{number}": chain_of(number, urls) for number in range(5)}) as made:
        before = list(declared)
        services = {name: leaf.url for name, leaf in made.items()}
        tools = {"SERVICES": services, "DEADLINE_SECONDS": DEADLINE_SECONDS}
        settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, **tools}
        yield list(made.values())
        declared[:] = before


FIRST = Part(name="first", source="chain0", path="/", fallback=None, attempts=1, timeout_seconds=10)


def test_in_a_chain_of_five_the_depth_is_counted_and_a_sixth_is_refused(chain: list[Leaf], settings: Any) -> None:
    composition = Composition("outside", [FIRST], deadline_seconds=10)
    plenty = Budget.lasting(10)
    assert compose(composition, {}, caller="", budget=plenty).values["first"] == {"depth": 5}
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "CHAIN_DEPTH_MAXIMUM": 4}
    chain[4].calls.clear()
    answer = compose(composition, {}, caller="", budget=plenty)
    assert [error["status"] for error in answer.errors] == [502]
    assert chain[4].calls == []


def test_a_slow_leaf_of_a_chain_of_five_ends_everybody_within_the_first_ones_deadline(chain: list[Leaf]) -> None:
    chain[4].delay_seconds = 60.0
    part = Part(name="first", source="chain0", path="/", attempts=1)
    composition = Composition("outside", [part], deadline_seconds=DEADLINE_SECONDS)
    seconds, answer = elapsed(lambda: compose(composition, {}, caller=""))
    assert 0.9 * DEADLINE_SECONDS < seconds < 30
    assert answer.errors[0]["status"] in (502, 504)
    left = [int(leaf.calls[0][2]["X-Deadline-Ms"]) for leaf in chain]
    assert left == sorted(left, reverse=True)
    assert left[0] <= 1000 * DEADLINE_SECONDS
    # Nobody waits any more: the links below gave up when the first did.
    await_until(lambda: not any(leaf.together for leaf in chain[:4]), 20, "the links have given up")
