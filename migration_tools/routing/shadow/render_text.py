"""A shadow report as plain text and as Markdown."""

from collections.abc import Iterator

from migration_tools.reports.letters import plural, printable
from migration_tools.routing.shadow.report import PlaceResult, RouteResult, RuleResult, ShadowReport

SHOWN_AT_MOST = 200


def verdict(report: ShadowReport) -> str:
    """The headline."""
    if not report.compared:
        return "nothing compared yet"
    if report.clean:
        return "both sides answer alike"
    routes = {each.pattern for each in report.open}
    verb = "differs" if len(report.open) == 1 else "differ"
    return f"{plural(len(report.open), 'place')} {verb} in {plural(len(routes), 'route')}"


def circumstances(report: ShadowReport) -> str:
    """What the verdict rests on, in one line."""
    parts = [
        f"{plural(report.compared, 'read')} compared",
        f"{report.different:,} different" if report.different else "none different",
    ]
    parts += [
        f"{count:,} {what}"
        for count, what in (
            (report.late, "agreed when asked again"),
            (report.dropped, "dropped while the comparator was busy"),
            (report.skipped, "not comparable"),
        )
        if count
    ]
    return ", ".join(parts) + (f", since {report.since}" if report.since else "")


def times(place: PlaceResult, report: ShadowReport) -> str:
    """How often a place differed."""
    compared = sum(route.compared for route in report.routes if route.pattern == place.pattern)
    told = f"in {place.count:,} of {plural(compared, 'read')}"
    return f"{told}, noise in {place.noise:,}" if place.noise else told


def skipped(route: RouteResult) -> str:
    """Why reads were not compared."""
    return "; ".join(f"{count:,} not compared: {reason}" for reason, count in sorted(route.skips.items()))


def rule_verb(rule: RuleResult) -> str:
    """What a rule does, in words."""
    return "compare as a bag" if rule.action == "unordered" else f"ignore {rule.kind.replace('_', ' ')}"


def render_text(report: ShadowReport, *, reveal: bool = False) -> str:
    """Render for a terminal."""
    return "\n".join(_text(report if reveal else report.redact())) + "\n"


def render_markdown(report: ShadowReport, *, reveal: bool = False) -> str:
    """Render for a pull request or a wiki."""
    return "\n".join(_markdown(report if reveal else report.redact())) + "\n"


def _text(report: ShadowReport) -> Iterator[str]:
    yield f"{report.context}: {verdict(report)}"
    yield circumstances(report)
    for route in report.routes:
        yield f"\n{printable(route.pattern)}  {route.compared:,} compared, {route.different:,} different"
        if route.skips:
            yield f"  {skipped(route)}"
        for place in list(report.places_of(route.pattern))[:SHOWN_AT_MOST]:
            yield f"  {place.kind.label:<18} {printable(place.path)}  {times(place, report)}"
            for sample in place.samples[:1]:
                yield f"  {'':<18} owner {printable(sample['owner'])}, candidate {printable(sample['candidate'])}"
    yield from _hints(report)


def _hints(report: ShadowReport) -> Iterator[str]:
    waiting = [rule for rule in report.rules if rule.state == "proposed"]
    ruled = sum(1 for place in report.places if place.rule is not None)
    if ruled:
        yield f"\n{plural(ruled, 'place')} covered by approved rules (strangle_shadow rules {report.context})"
    if waiting:
        yield f"\n{plural(len(waiting), 'rule')} proposed; decide with strangle_shadow approve or reject"
    elif report.open:
        yield f"\nmend the candidate, or run strangle_shadow propose {report.context}"


def _markdown(report: ShadowReport) -> Iterator[str]:
    yield f"# Shadow reads of {report.context}: {verdict(report)}\n"
    yield f"{circumstances(report)}.\n"
    yield "| Route | Compared | Different | Late | Dropped | Not comparable |"
    yield "|---|---:|---:|---:|---:|---:|"
    for route in report.routes:
        numbers = (route.compared, route.different, route.late, route.dropped, route.skipped)
        yield f"| {_cell(route.pattern)} | {' | '.join(f'{number:,}' for number in numbers)} |"
    if report.open:
        yield "\n## Differences\n"
        yield "| Route | Class | Path | How often | Owner | Candidate |"
        yield "|---|---|---|---|---|---|"
        for place in report.open[:SHOWN_AT_MOST]:
            sample = place.samples[0] if place.samples else {"owner": "", "candidate": ""}
            cells = (place.pattern, place.path, times(place, report), sample["owner"], sample["candidate"])
            pattern, path, often, owner, candidate = (_cell(each) for each in cells)
            yield f"| {pattern} | {place.kind.label} | {path} | {often} | {owner} | {candidate} |"
    if report.rules:
        yield "\n## Rules\n"
        yield "| Rule | State | What | Why | Reason |"
        yield "|---:|---|---|---|---|"
        for rule in report.rules:
            what = f"{rule_verb(rule)} at {rule.path} of {rule.pattern or 'every route'}"
            yield f"| {rule.number} | {rule.state} | {_cell(what)} | {_cell(rule.why)} | {_cell(rule.reason)} |"


def _cell(text: str) -> str:
    escaped = printable(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return escaped.replace("`", "'").replace("*", "\\*").replace("_", "\\_")
