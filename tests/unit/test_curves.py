"""Curves of the console: what they are drawn from is what the samples said, each figure by its own rule."""

import datetime as dt
from typing import Any

import pytest

from migration_tools.overview.curves import POINTS, answers, fence_curve, lag_curves, open_curve, thin, use_curves
from migration_tools.state.models import Sample

NOON = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)


def sampled(*figures: dict[str, Any], every: float = 60.0) -> list[Sample]:
    return [
        Sample(context="orders", figures=each, at=NOON + dt.timedelta(seconds=every * place))
        for place, each in enumerate(figures)
    ]


def test_a_consumer_that_appeared_late_was_not_behind_before() -> None:
    seen = sampled({"lag": {"source:orders": 1.5}}, {"lag": {"source:orders": 0.5, "target:monolith": 3}})
    assert lag_curves(seen) == {"source:orders": [1.5, 0.5], "target:monolith": [0.0, 3.0]}


def test_refused_writes_are_counted_between_samples_of_both_sides_and_a_reset_adds_none() -> None:
    counted = [{"source": 5, "target": 1}, {"source": 9, "target": 3}, {"source": 0, "target": 0}]
    assert fence_curve(sampled(*({"fenced": each} for each in counted))) == [6.0, 0.0]
    assert fence_curve([]) == []


def test_what_is_left_and_who_used_the_old_tables() -> None:
    seen = sampled(
        {"open": 4, "uses": {"orders_order": [10, 1]}},
        {"open": 3, "uses": {"orders_order": [15, 1], "orders_orderline": [7, 7]}},
        {"open": 0, "uses": {"orders_order": [15, 4], "orders_orderline": [9, 7]}},
    )
    assert open_curve(seen) == [4.0, 3.0, 0.0]
    assert use_curves(seen) == {"orders_order": ([5.0, 0.0], [0.0, 3.0]), "orders_orderline": ([2.0], [0.0])}


def test_answers_are_those_of_the_last_minutes_alone() -> None:
    def counts(requests: int, errors: int, fast: int) -> dict[str, Any]:
        return {"requests": requests, "errors": errors, "latencies": {"100": fast, "500": requests - fast}}

    long_ago = {"traffic": {"old": counts(1_000, 900, 0)}}
    first = {"traffic": {"old": counts(2_000, 900, 500), "new": counts(0, 0, 0)}}
    last = {"traffic": {"old": counts(2_100, 901, 595), "new": counts(40, 2, 0)}}
    found = answers(sampled(long_ago, {}, first, last, every=180))
    assert (found["old"].requests, found["old"].errors, found["new"].requests) == (100, 1, 40)
    assert found["old"].error_percent == pytest.approx(1.0)
    assert found["new"].error_percent == pytest.approx(5.0)
    assert (found["old"].median_ms, found["new"].median_ms) == (100.0, 500.0)
    assert answers([]) == {}


def test_thinning_keeps_every_peak() -> None:
    values = [0.0] * 1_000
    values[777] = 42.0
    assert len(thin(values)) == POINTS
    assert max(thin(values)) == 42.0
