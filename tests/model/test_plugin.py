"""The plugin as its user meets it: a test of their own transactions, in a run of its own."""

import re

import pytest

from migration_tools.kernel.positions import Admission
from migration_tools.testing.model.protocol import Protocol
from migration_tools.testing.model.transactions import Insert, Publish, Update, transaction
from migration_tools.testing.plugin import InterleavingFound, Interleavings
from tests.architecture.tree import ROOT

pytestmark = pytest.mark.thorough

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _found_by_the_inner_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own tests run with the toolkit not installed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def example() -> str:
    """The example of the documentation."""
    page = (ROOT / "docs/explanation/model-check.md").read_text()
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_example_of_the_documentation_passes_and_says_how_many_states(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(example())
    result = pytester.runpytest_subprocess("-p", "migration_tools.testing.plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines([r".*interleavings explored.*", r".*\d+ states, \d+ ends.*every property holds"])


def test_a_schedule_that_is_too_large_fails_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(example().replace("crashes=1", "crashes=1, largest=40"))
    result = pytester.runpytest_subprocess("-p", "migration_tools.testing.plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*more than 40 states*"])


def test_the_plugin_is_declared_for_pytest() -> None:
    assert 'strangler = "migration_tools.testing.plugin"' in (ROOT / "pyproject.toml").read_text()


def test_owners_that_do_not_alternate_are_refused() -> None:
    explore = Interleavings([], "test")
    with pytest.raises(ValueError, match="the monolith owns first"):
        explore(transaction("T1", Update(1, "b")), owners=["monolith"])


def test_a_violation_is_told_as_the_shortest_schedule() -> None:
    careless = Protocol(admit=lambda at, first, last: Admission.TAKE, fresh=lambda records, at: list(records))
    with pytest.raises(InterleavingFound, match=r"the effect of order\.placed happened twice"):
        Interleavings([], "test")(transaction("T1", Insert(1, "b"), Publish("order.placed")), protocol=careless)
