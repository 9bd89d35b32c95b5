"""The protocol holds in every interleaving; every planted bug is found, by a shortest schedule that shows it."""

import pytest

from migration_tools.testing.model import scenarios
from migration_tools.testing.model.exploration import TooManyStates, explore
from migration_tools.testing.model.mutants import MUTANTS, Mutant
from migration_tools.testing.model.world import Scenario
from migration_tools.testing.plugin import EXPLORED


@pytest.mark.parametrize("scenario", scenarios.ALL, ids=lambda scenario: scenario.name)
def test_no_interleaving_loses_duplicates_or_resurrects_a_row(
    scenario: Scenario, request: pytest.FixtureRequest
) -> None:
    found = explore(scenario)
    request.config.stash.setdefault(EXPLORED, []).append(str(found))
    print(found)
    assert found.holds, str(found)
    assert found.states > 100
    assert found.ends > 0


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    found = explore(mutant.planted())
    print(found)
    assert not found.holds, f"nothing found in {found.states} states: the model does not see {mutant.name!r}"
    assert found.trace


def test_every_scenario_of_a_planted_bug_holds_without_it() -> None:
    for scenario in {mutant.scenario for mutant in MUTANTS} - set(scenarios.ALL):
        assert explore(scenario).holds, scenario.name


def test_at_least_twenty_bugs_are_planted_each_once() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20


def test_a_scenario_that_is_too_large_is_no_proof() -> None:
    with pytest.raises(TooManyStates, match="more than 50 states"):
        explore(scenarios.SYNC, largest=50)


def test_the_same_scenario_has_the_same_states_each_time() -> None:
    assert explore(scenarios.START).states == explore(scenarios.START).states
