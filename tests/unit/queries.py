"""Queries of dashboard and alerts, read by a PromQL parser: which metrics they name, which labels they leave."""

import json
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml
from promql_parser import AggModifierType, LabelModifierType, MatchOp, VectorMatchCardinality

#: What Prometheus adds to each series that it scrapes.
SCRAPED = frozenset({"instance", "job"})
#: Functions that leave the labels of their only series as they are.
KEEPING = frozenset({"rate", "increase"})

Labels = frozenset[str]


class StrangeQuery(ValueError):
    """A query that parses and asks for what there is not."""


def rules(path: Path) -> list[dict[str, Any]]:
    """Every rule of a file of Prometheus's."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def targets(path: Path) -> list[dict[str, Any]]:
    """Every query of a dashboard, with the legend of its series."""
    return [each for panel in json.loads(path.read_text())["panels"] for each in panel.get("targets", [])]


def queries(path: Path) -> list[str]:
    """Every query of a dashboard or of a file of rules."""
    return [each["expr"] for each in (targets(path) if path.suffix == ".json" else rules(path))]


def left_by(query: str, known: dict[str, Labels]) -> Labels:
    """The labels that every series of the answer has.

    Args:
        query: a query of PromQL; variables of Grafana only inside its strings.
        known: each metric that there is, with its own labels.

    Raises:
        ValueError: Prometheus would not take it.
        StrangeQuery: it names a metric, or chooses, groups or joins by a label, that is not there.
    """
    return _labels(promql.parse(query), known)


def _labels(node: Any, known: dict[str, Labels]) -> Labels:
    match node:
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(node.expr, known)
        case promql.MatrixSelector():
            return _labels(node.vector_selector, known)
        case promql.VectorSelector():
            return _of_selector(node, known)
        case promql.AggregateExpr():
            return _of_group(node, known)
        case promql.BinaryExpr():
            return _of_both(node, known)
        case promql.Call(func=function, args=args):
            inner = [_labels(each, known) for each in args]
            if function.name == "absent":
                return frozenset(each.name for each in args[0].matchers.matchers if each.op == MatchOp.Equal)
            if function.name in KEEPING:
                return inner[0]
    raise StrangeQuery(f"nobody said which labels {node} leaves")


def _of_selector(node: Any, known: dict[str, Labels]) -> Labels:
    if node.name not in known:
        raise StrangeQuery(f"{node.name} is no metric of ours")
    there = known[node.name] | SCRAPED
    _held([each.name for each in node.matchers.matchers], there, node)
    return there


def _of_group(node: Any, known: dict[str, Labels]) -> Labels:
    there = _labels(node.expr, known)
    if node.modifier is None:
        return frozenset()
    _held(node.modifier.labels, there, node)
    named = frozenset(node.modifier.labels)
    return named if node.modifier.type == AggModifierType.By else there - named


def _of_both(node: Any, known: dict[str, Labels]) -> Labels:
    left, right = _labels(node.lhs, known), _labels(node.rhs, known)
    if isinstance(node.lhs, promql.NumberLiteral) or isinstance(node.rhs, promql.NumberLiteral):
        return left | right
    if str(node.op) == "or":
        return left & right
    many = node.modifier is not None and node.modifier.card == VectorMatchCardinality.ManyToMany
    if node.modifier is not None and not many and node.modifier.card != VectorMatchCardinality.OneToOne:
        raise StrangeQuery(f"nobody said which labels {node} leaves")
    matching = node.modifier and node.modifier.matching
    if matching and matching.type == LabelModifierType.Include:
        _held(matching.labels, left & right, node)
        return left if many else frozenset(matching.labels)
    ignored = frozenset(matching.labels) if matching else frozenset()
    if left - ignored != right - ignored:
        raise StrangeQuery(f"no series of the two sides meet, {sorted(left)} and {sorted(right)}: {node}")
    return left if many else left - ignored


def _held(asked: list[str], there: Labels, node: Any) -> None:
    if strange := set(asked) - there:
        raise StrangeQuery(f"there is no label {sorted(strange)}: {node}")
