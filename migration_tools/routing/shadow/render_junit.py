"""A shadow report as JUnit's XML: a test case a route."""

from migration_tools.reports import render_junit as junit
from migration_tools.reports.letters import plural
from migration_tools.reports.sheet import Case, Sheet
from migration_tools.routing.shadow.render_text import circumstances, skipped, times, verdict
from migration_tools.routing.shadow.report import RouteResult, ShadowReport


def render_junit(report: ShadowReport) -> str:
    """Render as one suite; a route of which nothing was compared is skipped. It holds no value."""
    return junit.render_junit(
        Sheet(
            title=f"shadow reads of {report.context}",
            verdict=verdict(report),
            good=report.clean,
            circumstances=circumstances(report),
            cases=[_case(report, route) for route in report.routes],
            properties={"compared": str(report.compared), "different": str(report.different)},
        )
    )


def _case(report: ShadowReport, route: RouteResult) -> Case:
    places = list(report.places_of(route.pattern))
    return Case(
        name=route.pattern,
        group=f"{report.context}.shadow",
        wrong=f"{plural(len(places), 'place')} differ" if places else "",
        skipped="" if route.compared else skipped(route) or "nothing compared",
        lines=[f"{each.kind.label} {each.path} {times(each, report)}" for each in places],
    )
