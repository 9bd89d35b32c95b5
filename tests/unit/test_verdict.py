"""Verdicts of a ramp: worse is seen early, green needs data, one bad answer decides nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_tools.routing.counts import Counts
from migration_tools.routing.verdict import Compared, Limits, Verdict, judge, wilson_lower

NOTHING = Compared()


def counts(requests: int, errors: int = 0, *, ms: float = 10) -> Counts:
    return Counts(requests=requests, errors=errors, latencies={ms: requests})


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (counts(1000), counts(1000), Verdict.GREEN),
        (counts(1000), counts(499), Verdict.NO_DATA),
        (counts(1000), Counts(), Verdict.NO_DATA),
        (counts(1000), counts(1, 1), Verdict.NO_DATA),
        (counts(1000), counts(5, 5), Verdict.WORSE),
        (counts(1000), counts(1000, 2), Verdict.GREEN),
        (counts(1000), counts(1000, 30), Verdict.WORSE),
        (counts(1000, 30), counts(1000, 30), Verdict.GREEN),
        (counts(1000), counts(1000, ms=35), Verdict.GREEN),
        (counts(1000), counts(1000, ms=50), Verdict.WORSE),
        (Counts(), counts(1000), Verdict.NO_DATA),
    ],
)
def test_a_step_is_judged_by_both_sides(old: Counts, new: Counts, verdict: Verdict) -> None:
    finding = judge(old, new, NOTHING, Limits(min_requests=500))
    assert finding.verdict is verdict, finding
    assert finding.reasons


def test_a_gate_that_is_not_asked_for_decides_nothing() -> None:
    assert judge(counts(900), counts(900, 90), NOTHING, Limits(gates=("latency",))).verdict is Verdict.GREEN
    assert judge(counts(900), counts(900, ms=900), NOTHING, Limits(gates=("errors",))).verdict is Verdict.GREEN


@pytest.mark.parametrize(
    ("shadow", "verdict"),
    [
        (Compared(), Verdict.NO_DATA),
        (Compared(compared=500), Verdict.GREEN),
        (Compared(compared=500, different=2), Verdict.GREEN),
        (Compared(compared=500, different=10), Verdict.WORSE),
    ],
)
def test_shadow_reads_that_differ_take_a_ramp_back(shadow: Compared, verdict: Verdict) -> None:
    assert judge(counts(900), counts(900), shadow, Limits(gates=("errors", "diff"))).verdict is verdict


@given(bad=st.integers(0, 2_000), more=st.integers(0, 100_000))
def test_the_bound_is_below_the_share_and_grows_with_the_evidence(bad: int, more: int) -> None:
    total = bad + more
    lower = wilson_lower(bad, total)
    assert 0 <= lower <= (bad / total if total else 0)
    assert wilson_lower(bad * 10, total * 10) >= lower - 1e-12


def test_one_error_of_one_answer_stands_for_little() -> None:
    assert wilson_lower(1, 1) == pytest.approx(0.2065, abs=1e-4)
    assert wilson_lower(30, 1000) == pytest.approx(0.0211, abs=1e-4)


@given(st.dictionaries(st.sampled_from([1.0, 5.0, 50.0, 500.0]), st.integers(1, 1000), min_size=1))
def test_a_quantile_is_a_bound_that_holds_for_that_share(latencies: dict[float, int]) -> None:
    bound = Counts(requests=sum(latencies.values()), latencies=latencies).quantile(0.95)
    assert bound is not None
    below = sum(count for upper, count in latencies.items() if upper <= bound)
    assert below >= 0.95 * sum(latencies.values())
