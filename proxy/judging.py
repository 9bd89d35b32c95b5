"""What one mirrored read comes to: both sides asked, asked again while they differ, and the rules applied."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from migration_tools.routing.shadow.comparison import Verdict, compare
from migration_tools.routing.shadow.differences import Difference
from migration_tools.routing.shadow.patterns import revealed, route_pattern, shape
from migration_tools.routing.shadow.rules import Rule, unordered
from migration_tools.routing.shadows import Place, Sample, Tally
from migration_tools.routing.table import ContextRoute, RoutingTable, Side
from proxy.asking import Read, Sides

# How long the candidate is given to catch up before a difference counts: it follows by events.
CONFIRM_PAUSES_SECONDS = (0.25, 1.0)
SAMPLES_MOST = 3


@dataclass(frozen=True, kw_only=True)
class Known:
    """The table and the rules as they were last read."""

    table: RoutingTable = field(default_factory=RoutingTable)
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)

    def context_of(self, target: str) -> str | None:
        """The context whose path this is, the longest first; None when no context claims it."""
        path = target.partition("?")[0]
        found = [
            (len(prefix), name)
            for name, route in self.table.contexts.items()
            for prefix in route.paths
            if path == prefix or path.startswith(f"{prefix}/")
        ]
        return max(found)[1] if found else None


def judge(read: Read, context: str, known: Known, sides: Sides, stopping: threading.Event, *, reveal: bool) -> Tally:
    """Ask and compare; a difference counts when it is still there after the candidate had time to catch up."""
    pattern, rules = route_pattern(read.target), known.rules.get(context, ())
    verdict = _ask(read, known.table.contexts[context], sides, unordered(rules, pattern))
    late = False
    for pause in CONFIRM_PAUSES_SECONDS:
        if verdict.skip or not _counting(verdict, rules, pattern):
            break
        if stopping.wait(pause):
            return Tally(dropped=1)
        again = _ask(read, known.table.contexts[context], sides, unordered(rules, pattern))
        verdict, late = _still(verdict, again), True
    return _tally(verdict, rules, pattern, late=late, reveal=reveal)


def _ask(read: Read, route: ContextRoute, sides: Sides, bags: frozenset[str]) -> Verdict:
    owner: Side = route.writes_owner
    candidate: Side = "old" if owner == "new" else "new"
    first = sides.ask(route.upstream(owner), read)
    other = sides.ask(route.upstream(candidate), read)
    return compare(first, other, sides.ask(route.upstream(owner), read), unordered=bags)


def _still(before: Verdict, now: Verdict) -> Verdict:
    """The differences of `now` that `before` had as well."""
    if now.skip:
        return now
    known = {(each.path, each.kind) for each in before.differences}
    kept = tuple(each for each in now.differences if (each.path, each.kind) in known)
    return Verdict(differences=kept, noise=now.noise)


def _counting(verdict: Verdict, rules: Iterable[Rule], pattern: str) -> list[Difference]:
    return [each for each in verdict.differences if not _ruled(each, rules, pattern)]


def _ruled(found: Difference, rules: Iterable[Rule], pattern: str) -> bool:
    return any(rule.covers(pattern, found) for rule in rules)


def _tally(verdict: Verdict, rules: Iterable[Rule], pattern: str, *, late: bool, reveal: bool) -> Tally:
    tally = Tally()
    if verdict.skip:
        tally.skips[verdict.skip] = 1
    else:
        different = bool(_counting(verdict, rules, pattern))
        tally.compared, tally.different = 1, int(different)
        tally.late = int(late and not different)
    for each in _once(verdict.differences):
        place = tally.places.setdefault((each.path, each.kind), Place())
        if _ruled(each, rules, pattern):
            place.ruled = 1
        else:
            place.count = 1
            place.samples = [_sample(each, reveal=reveal)]
    for each in _once(verdict.noise):
        tally.places.setdefault((each.path, each.kind), Place()).noise = 1
    return tally


def _once(found: Iterable[Difference]) -> Iterable[Difference]:
    """One of each place: a list of twenty that differ in one field is one read that differs there."""
    return {(each.path, each.kind): each for each in found}.values()


def _sample(found: Difference, *, reveal: bool) -> Sample:
    told = str if found.plain else revealed if reveal else shape
    return Sample(owner=told(found.owner), candidate=told(found.candidate))


def add(total: Tally, one: Tally) -> None:
    """Add one tally to another in place."""
    total.compared += one.compared
    total.different += one.different
    total.late += one.late
    total.dropped += one.dropped
    for reason, count in one.skips.items():
        total.skips[reason] = total.skips.get(reason, 0) + count
    for key, place in one.places.items():
        mine = total.places.setdefault(key, Place())
        mine.count += place.count
        mine.ruled += place.ruled
        mine.noise += place.noise
        mine.samples = [*mine.samples, *place.samples][:SAMPLES_MOST]
