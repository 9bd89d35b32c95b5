"""A report for other programs: SARIF for code hosts, DOT for Graphviz, JSON for everything else."""

import json
from typing import Any
from urllib.parse import quote

from migration_tools.analysis.findings import Finding
from migration_tools.analysis.plan import cost_of
from migration_tools.analysis.report import Analysis
from migration_tools.analysis.rules import RULES

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def render_json(analysis: Analysis) -> str:
    """The whole model."""
    return json.dumps(analysis.to_json(), ensure_ascii=False, indent=1) + "\n"


def render_sarif(analysis: Analysis) -> str:
    """SARIF 2.1.0: every finding with a line, none of a framework; its fingerprint survives moved lines."""
    ids = list(RULES)
    frameworks = {each.name for each in analysis.contexts if each.framework}
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "strangle_analyze",
                "rules": [
                    {
                        "id": rule.id,
                        "name": rule.name.title().replace(" ", ""),
                        "shortDescription": {"text": rule.name},
                        "help": {"text": rule.remedy},
                        "properties": {"cost": rule.cost, "part": rule.part},
                    }
                    for rule in RULES.values()
                ],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [
            {
                "ruleId": each.rule,
                "ruleIndex": ids.index(each.rule),
                "level": "warning" if each.of.cost >= 5 else "note",
                "message": {"text": f"{each.message}; {each.of.remedy}"},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": quote(each.place.file)},
                            "region": {"startLine": max(each.place.line, 1)},
                        }
                    }
                ],
                "partialFingerprints": {"coupling/v1": each.key},
            }
            for each in analysis.findings
            if each.place.file and not frameworks & {each.source, each.target}
        ],
    }
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=1) + "\n"


def render_dot(analysis: Analysis) -> str:
    """A directed graph: an arrow from who depends to what it depends on, thicker where it costs more."""
    lines = ["digraph contexts {", "  rankdir=LR;", '  node [shape=box, style="rounded,filled", fillcolor="#f5f3ef"];']
    for context in analysis.shown:
        label = f"{context.name}\n{len(context.tables)} tables, {context.rows:,} rows"
        lines.append(f"  {_name(context.name)} [label={_name(label)}];")
    shown = {each.name for each in analysis.shown}
    edges: dict[tuple[str, str], list[Finding]] = {}
    for finding in analysis.findings:
        if finding.source != finding.target and {finding.source, finding.target} <= shown:
            edges.setdefault((finding.source, finding.target), []).append(finding)
    costs = {edge: sum(cost_of(found).values()) for edge, found in edges.items()}
    most = max(costs.values(), default=1)
    for (source, target), cost in sorted(costs.items()):
        width = 0.5 + 5 * cost / most
        lines.append(f'  {_name(source)} -> {_name(target)} [label="{cost}", penwidth={width:.1f}];')
    return "\n".join([*lines, "}"]) + "\n"


def _name(text: str) -> str:
    """A quoted string of DOT, which knows no other escapes than these."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
