"""Metrics as Prometheus reads them: complete, escaped, documented, and all that dashboards and alerts name."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from migration_tools.messaging.metrics import Sample
from migration_tools.observability.exposition import families
from migration_tools.observability.figures import FAMILIES
from tests.architecture.tree import ROOT

DEPLOY = ROOT / "deploy" / "observability"
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


def documented_labels() -> dict[str, set[str]]:
    """What the page says of each metric; test_scrape.py holds that to a scrape."""
    rows = re.findall(r"^\| `(strangle_\w+)` \| \w+ \| ([\w, ]*)\|", PAGE, re.MULTILINE)
    return {name: set(filter(None, re.split(r"[, ]+", labels))) for name, labels in rows}


def test_counters_are_named_as_such_and_nothing_else_is() -> None:
    assert {name for name, (kind, _) in FAMILIES.items() if kind == "counter"} == {
        name for name in FAMILIES if name.endswith("_total")
    }


def named(text: str) -> set[str]:
    """The metrics that a text of queries names."""
    return set(re.findall(r"\bstrangle_[a-z_]+", text))


def queries(path: Path) -> list[str]:
    """Every query of a dashboard or of a file of rules."""
    if path.suffix == ".json":
        panels = json.loads(path.read_text())["panels"]
        return [target["expr"] for panel in panels for target in panel.get("targets", [])]
    groups = yaml.safe_load(path.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("name", ["dashboard.json", "alerts.yml"])
def test_every_query_names_metrics_that_there_are(name: str) -> None:
    found = queries(DEPLOY / name)
    assert len(found) >= 8
    for query in found:
        assert named(query), query
        assert named(query) <= set(FAMILIES), query
        assert query.count("(") == query.count(")")


def inside(text: str) -> str:
    """What the parentheses hold with which a text begins."""
    depth = 0
    for place, sign in enumerate(text):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth == 0:
            return text[: place + 1]
    return text


def strange_labels(query: str) -> list[str]:
    """Labels that a query chooses, groups or joins by, and that a metric it concerns does not have."""
    known = documented_labels()
    asked: list[tuple[str, str]] = []
    for name, selector in re.findall(r"\b(strangle_\w+)\{([^}]*)\}", query):
        asked += [(name, label) for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)]
    for found in re.finditer(r"\bby \(([^)]*)\)\s*(?=\()", query):
        concerned = named(inside(query[found.end() :]))
        asked += [(name, label) for name in concerned for label in re.split(r"[, ]+", found[1])]
    for found in re.finditer(r"\bon \(([^)]*)\)\s*(strangle_\w+)", query):
        asked += [(found[2], label) for label in re.split(r"[, ]+", found[1])]
    return [f"{name} has no label {label!r}" for name, label in asked if label not in known.get(name, set())]


@pytest.mark.parametrize("name", ["dashboard.json", "alerts.yml"])
def test_every_query_chooses_and_groups_by_labels_that_there_are(name: str) -> None:
    assert [fault for query in queries(DEPLOY / name) for fault in strange_labels(query)] == []


def test_an_alert_speaks_of_labels_that_its_query_leaves() -> None:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        said = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        left = set(re.split(r"[, ]+", ",".join(re.findall(r"\bby \(([^)]*)\)", rule["expr"]))))
        assert said <= left, rule["alert"]


@pytest.mark.parametrize(
    "query",
    [
        'strangle_phase{stream="orders"}',
        "max by (stream, context) (rate(strangle_route_requests_total[5m]))",
        "strangle_move_seconds > 900 unless on (stream) strangle_phase == 1",
    ],
)
def test_a_label_that_is_not_is_found(query: str) -> None:
    assert len(strange_labels(query)) == 1


def test_a_query_of_a_metric_that_is_not_is_found() -> None:
    assert not named("rate(strangle_outbox_rows_total[5m])") <= set(FAMILIES)


def test_every_alert_says_what_to_do_on_a_page_that_exists() -> None:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")
        assert (ROOT / rule["annotations"]["runbook"]).is_file(), rule["alert"]


def test_every_panel_has_a_place_of_its_own_a_title_and_a_unit() -> None:
    panels = json.loads((DEPLOY / "dashboard.json").read_text())["panels"]
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
