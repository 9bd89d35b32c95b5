"""What the shadow reads of a context came to: one model, its JSON form, and who may be told what."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from migration_tools.conf import settings
from migration_tools.reports.kinds import VERSIONS, Kind
from migration_tools.routing.shadow.differences import Difference, DiffKind
from migration_tools.routing.shadow.models import ShadowDifference, ShadowRoute, ShadowRule
from migration_tools.routing.shadow.patterns import without_values
from migration_tools.routing.shadow.rules import approved, unordered

VERSION = VERSIONS[Kind.SHADOW]


@dataclass(frozen=True, kw_only=True)
class RouteResult:
    """One pattern's shadow reads."""

    pattern: str
    compared: int
    different: int
    late: int
    dropped: int
    skips: dict[str, int]
    first_seen: str
    last_seen: str

    @property
    def skipped(self) -> int:
        return sum(self.skips.values())


@dataclass(frozen=True, kw_only=True)
class PlaceResult:
    """One place of one pattern's answers; `rule` is the number of the rule that covers it now."""

    pattern: str
    path: str
    kind: DiffKind
    count: int
    ruled: int
    noise: int
    samples: list[dict[str, str]]
    first_seen: str
    last_seen: str
    rule: int | None

    @property
    def open(self) -> bool:
        """Whether it differed beyond noise and nobody has ruled about it."""
        return self.count > 0 and self.rule is None


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """One rule, decided or not."""

    number: int
    pattern: str
    path: str
    kind: str
    action: str
    state: str
    why: str
    reason: str
    actor: str


@dataclass(frozen=True, kw_only=True)
class ShadowReport:
    """All of a context's shadow reads so far."""

    context: str
    at: str
    routes: list[RouteResult] = field(default_factory=list)
    places: list[PlaceResult] = field(default_factory=list)
    rules: list[RuleResult] = field(default_factory=list)
    redacted: bool = False

    @property
    def compared(self) -> int:
        return sum(route.compared for route in self.routes)

    @property
    def different(self) -> int:
        return sum(route.different for route in self.routes)

    @property
    def late(self) -> int:
        return sum(route.late for route in self.routes)

    @property
    def dropped(self) -> int:
        return sum(route.dropped for route in self.routes)

    @property
    def skipped(self) -> int:
        return sum(route.skipped for route in self.routes)

    @property
    def since(self) -> str:
        return min((route.first_seen for route in self.routes), default="")

    @property
    def open(self) -> list[PlaceResult]:
        """What differs and has to be mended or ruled, the most frequent first."""
        return sorted((each for each in self.places if each.open), key=lambda each: -each.count)

    @property
    def clean(self) -> bool:
        """Whether something was compared and nothing is open: no data is not clean."""
        return self.compared > 0 and not self.open

    def places_of(self, pattern: str) -> Iterator[PlaceResult]:
        """The open differences of one pattern, the most frequent first."""
        return (each for each in self.open if each.pattern == pattern)

    def redact(self) -> Self:
        """The same report without the values that a comparator stored because it ran with --reveal."""
        if self.redacted:
            return self
        return replace(self, redacted=True, places=[_redacted(each) for each in self.places])

    def to_json(self, *, reveal: bool = False) -> dict[str, Any]:
        """The JSON form, keys in a stable order; revealed, it has the values of a comparator that kept them."""
        if not reveal and not self.redacted:
            return self.redact().to_json()
        return {
            "kind": str(Kind.SHADOW),
            "version": VERSION,
            "redacted": self.redacted,
            "context": self.context,
            "at": self.at,
            "since": self.since,
            "clean": self.clean,
            "compared": self.compared,
            "different": self.different,
            "late": self.late,
            "dropped": self.dropped,
            "skipped": self.skipped,
            "routes": [asdict(route) for route in self.routes],
            "differences": [{**asdict(each), "kind": str(each.kind), "open": each.open} for each in self.places],
            "rules": [asdict(rule) for rule in self.rules],
        }


def read_report(context: str) -> ShadowReport:
    """Read what all comparators have told so far."""
    database = settings().DATABASE
    routes = ShadowRoute.objects.using(database).filter(context=context).order_by("pattern")
    places = ShadowDifference.objects.using(database).filter(context=context).order_by("pattern", "path", "kind")
    rules = list(ShadowRule.objects.using(database).filter(context=context))
    return ShadowReport(
        context=context,
        at=_time(datetime.now(tz=UTC)),
        routes=[_route(row) for row in routes],
        places=[_place(row, rules) for row in places],
        rules=[_rule(row) for row in rules],
    )


def _redacted(place: PlaceResult) -> PlaceResult:
    # A place that is no path into an answer is a status, a size or a header's media type.
    if not place.path.startswith("$"):
        return place
    samples = [{side: without_values(text) for side, text in each.items()} for each in place.samples]
    return replace(place, samples=samples)


def _route(row: ShadowRoute) -> RouteResult:
    return RouteResult(
        pattern=row.pattern,
        compared=row.compared,
        different=row.different,
        late=row.late,
        dropped=row.dropped,
        skips=row.skips,
        first_seen=_time(row.first_seen),
        last_seen=_time(row.last_seen),
    )


def _place(row: ShadowDifference, rules: list[ShadowRule]) -> PlaceResult:
    return PlaceResult(
        pattern=row.pattern,
        path=row.path,
        kind=DiffKind(row.kind),
        count=row.count,
        ruled=row.ruled,
        noise=row.noise,
        samples=row.samples,
        first_seen=_time(row.first_seen),
        last_seen=_time(row.last_seen),
        rule=_covering(row, rules),
    )


def _covering(row: ShadowDifference, rules: list[ShadowRule]) -> int | None:
    found = Difference(path=row.path, kind=DiffKind(row.kind))
    for rule in approved(rules):
        bag = found.kind is DiffKind.ORDER and row.path in unordered([rule], row.pattern)
        if bag or rule.covers(row.pattern, found):
            return rule.number
    return None


def _rule(row: ShadowRule) -> RuleResult:
    return RuleResult(
        number=row.pk,
        pattern=row.pattern,
        path=row.path,
        kind=row.kind,
        action=row.action,
        state=row.state,
        why=row.why,
        reason=row.reason,
        actor=row.actor,
    )


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
