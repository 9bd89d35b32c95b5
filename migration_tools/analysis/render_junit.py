"""An analysis as JUnit's XML: a test case for each pair of contexts, one that is coupled dearly fails."""

from migration_tools.analysis.findings import Finding
from migration_tools.analysis.render_text import headline
from migration_tools.analysis.report import Analysis, by_rule
from migration_tools.analysis.rules import RULES
from migration_tools.reports import render_junit as junit
from migration_tools.reports.letters import plural
from migration_tools.reports.sheet import Case, Sheet

#: A coupling of so many points is a warning in SARIF, and a failure here.
DEAR = 5


def render_junit(analysis: Analysis) -> str:
    """A suite of the pairs of contexts; use strangle_guard to let a build fail only by what is new."""
    shown = [each.name for each in analysis.shown]
    pairs = [(one, other) for place, one in enumerate(shown) for other in shown[place + 1 :]]
    return junit.render_junit(
        Sheet(
            title=f"coupling of {analysis.project}",
            verdict=headline(analysis),
            good=analysis.verdict.answer != "prepare",
            circumstances=f"{headline(analysis)}; it stands on {', '.join(analysis.sources)}",
            cases=[_case(analysis, *pair) for pair in pairs],
            properties={"made_at": analysis.made_at, "findings": str(len(analysis.findings))},
        )
    )


def _case(analysis: Analysis, one: str, other: str) -> Case:
    found = [*analysis.between(one, other), *analysis.between(other, one)]
    dear = [each for each in found if each.of.cost >= DEAR]
    return Case(
        name=f"{one} and {other}",
        group=f"{analysis.project}.coupling",
        wrong=_told(dear) if dear else "",
        lines=[f"{each.place}: {each.message}" for each in dear],
    )


def _told(found: list[Finding]) -> str:
    rules = ", ".join(f"{RULES[rule].name} {len(each)}" for rule, each in by_rule(found).items())
    return f"{plural(len(found), 'coupling')} of {DEAR} points or more: {rules}"
