"""Metrics as Prometheus reads them: complete, escaped, documented, and all that dashboards and alerts name."""

import json
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import parse_duration

from migration_tools.messaging.metrics import Sample
from migration_tools.observability.exposition import families
from migration_tools.observability.figures import FAMILIES
from tests.architecture.tree import ROOT
from tests.unit.queries import Labels, StrangeQuery, left_by, queries, rules, targets

DEPLOY = ROOT / "deploy" / "observability"
ALERTS, DASHBOARD = DEPLOY / "alerts.yml", DEPLOY / "dashboard.json"
PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text()


def rendered(samples: list[Sample]) -> str:
    from prometheus_client.core import CollectorRegistry
    from prometheus_client.exposition import generate_latest
    from prometheus_client.registry import Collector

    class Given(Collector):
        def collect(self) -> Any:
            return families(samples)

    registry = CollectorRegistry()
    registry.register(Given())
    return generate_latest(registry).decode()


def test_a_family_has_help_type_and_its_samples_together() -> None:
    text = rendered(
        [
            Sample(name="strangle_dead_letters", value=2, labels={"stream": "orders"}),
            Sample(name="strangle_stream_position", value=123_456_789, labels={"stream": "orders"}),
            Sample(name="strangle_dead_letters", value=0, labels={"stream": 'a"b\\c\n'}),
            Sample(name="strangle_fence_blocked_total", value=3),
        ]
    )
    read = {family.name: family for family in text_string_to_metric_families(text)}
    assert {name: family.type for name, family in read.items()} == {
        "strangle_stream_position": "gauge",
        "strangle_dead_letters": "gauge",
        "strangle_fence_blocked": "counter",
    }
    letters = {sample.labels["stream"]: sample.value for sample in read["strangle_dead_letters"].samples}
    assert letters == {"orders": 2.0, 'a"b\\c\n': 0.0}
    assert "strangle_fence_blocked_total 3.0" in text.splitlines()


def test_every_metric_is_documented_with_its_type_and_nothing_else_is() -> None:
    rows = dict(re.findall(r"^\| `(strangle_\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert rows == {name: kind for name, (kind, _) in FAMILIES.items()}


def documented_labels() -> dict[str, Labels]:
    """What the page says of each metric; test_scrape.py holds that to a scrape."""
    rows = re.findall(r"^\| `(strangle_\w+)` \| \w+ \| ([\w, ]*)\|", PAGE, re.MULTILINE)
    return {name: frozenset(filter(None, re.split(r"[, ]+", labels))) for name, labels in rows}


KNOWN = documented_labels()


def test_counters_are_named_as_such_and_nothing_else_is() -> None:
    assert {name for name, (kind, _) in FAMILIES.items() if kind == "counter"} == {
        name for name in FAMILIES if name.endswith("_total")
    }


@pytest.mark.parametrize("query", queries(ALERTS) + queries(DASHBOARD))
def test_every_query_is_promql_of_metrics_and_labels_that_there_are(query: str) -> None:
    left_by(query, KNOWN)


def test_an_alert_speaks_of_labels_that_its_query_leaves() -> None:
    assert len(rules(ALERTS)) >= 8
    for rule in rules(ALERTS):
        said = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert said <= left_by(rule["expr"], KNOWN), rule["alert"]


def test_a_legend_names_labels_that_its_query_leaves() -> None:
    assert len(targets(DASHBOARD)) >= 8
    for target in targets(DASHBOARD):
        said = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert said <= left_by(target["expr"], KNOWN), target["expr"]


@pytest.mark.parametrize(
    "query",
    [
        "sum by (stream (strangle_dead_letters)",
        "rate(strangle_dead_letters)",
        "rated(strangle_dead_letters[5m])",
        "max by (context) (strangle_move_seconds) > 900 unless on context strangle_phase == 1",
        "",
    ],
)
def test_a_query_that_prometheus_would_not_take_is_found(query: str) -> None:
    with pytest.raises(ValueError, match=r".") as found:
        left_by(query, KNOWN)
    assert not isinstance(found.value, StrangeQuery)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("rate(strangle_outbox_rows_total[5m])", "no metric of ours"),
        ('strangle_phase{stream="orders"}', "no label"),
        ("max by (stream, context) (rate(strangle_route_requests_total[5m]))", "no label"),
        ("max by (context) (max by (stream) (strangle_outbox_pending))", "no label"),
        ("strangle_move_seconds > 900 unless on (stream) strangle_phase == 1", "no label"),
        ("max(strangle_move_seconds) > 900 unless on (context) strangle_phase == 1", "no label"),
        ("sum by (context) (strangle_move_seconds) / sum by (phase) (strangle_phase)", "no series of the two sides"),
        ("max by (context) (strangle_move_seconds) and strangle_move_seconds", "no series of the two sides"),
    ],
)
def test_a_query_of_what_is_not_or_never_meets_is_found(query: str, says: str) -> None:
    with pytest.raises(StrangeQuery, match=says):
        left_by(query, KNOWN)


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (
            "max by (stream) (strangle_outbox_pending) or max by (stream, consumer) (strangle_consumer_lag_seconds)",
            "stream",
        ),
        ("max by (context) (strangle_move_seconds) / on (context) strangle_phase", "context"),
        ("sum without (instance, job) (strangle_outbox_pending) > 0", "stream"),
        ('absent(strangle_phase{context="orders"})', "context"),
        ("sum(strangle_sagas_stuck)", ""),
    ],
)
def test_the_labels_of_an_answer_are_those_that_each_of_its_series_has(query: str, left: str) -> None:
    assert left_by(query, KNOWN) == frozenset(left.split())


def test_every_alert_says_what_to_do_on_a_page_that_exists() -> None:
    assert len({rule["alert"] for rule in rules(ALERTS)}) == len(rules(ALERTS))
    for rule in rules(ALERTS):
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}, "Prometheus refuses any other key"
        assert "for" not in rule or parse_duration(rule["for"])
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")
        assert (ROOT / rule["annotations"]["runbook"]).is_file(), rule["alert"]


def test_every_panel_has_a_place_of_its_own_a_title_and_a_unit() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or panel["fieldConfig"]["defaults"]["unit"]
    assert len({panel["id"] for panel in panels}) == len(panels)
