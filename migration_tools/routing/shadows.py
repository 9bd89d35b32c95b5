"""Shadow reads: how many were compared and how many differed beyond noise, added up by every comparator."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Now

from migration_tools.conf import settings
from migration_tools.routing.shadow.differences import DiffKind
from migration_tools.routing.shadow.models import ShadowDifference, ShadowRoute
from migration_tools.routing.verdict import Compared

SAMPLES_KEPT = 3
# A service whose paths are all different must not fill the table; what is beyond is counted together.
PATTERNS_MOST = 200
PLACES_MOST = 500
OTHER = "(other)"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Both values at a place, as they may be stored."""

    owner: str
    candidate: str


@dataclass(kw_only=True)
class Place:
    """How often a place differed since it was last told, and a few examples."""

    count: int = 0
    ruled: int = 0
    noise: int = 0
    samples: list[Sample] = field(default_factory=list)


@dataclass(kw_only=True)
class Tally:
    """What one pattern's shadow reads came to since it was last told."""

    compared: int = 0
    different: int = 0
    late: int = 0
    dropped: int = 0
    skips: dict[str, int] = field(default_factory=dict)
    places: dict[tuple[str, DiffKind], Place] = field(default_factory=dict)


def read_compared(context: str) -> Compared:
    """The sums of a context, so that two readings can be subtracted."""
    rows = ShadowRoute.objects.using(settings().DATABASE).filter(context=context)
    sums = rows.aggregate(compared=Sum("compared", default=0), different=Sum("different", default=0))
    return Compared(compared=sums["compared"], different=sums["different"])


def report_shadows(tallies: Mapping[tuple[str, str], Tally]) -> None:
    """Add what a comparator found, by context and pattern; opens its own transaction."""
    with transaction.atomic(using=settings().DATABASE):
        # In one order, so that two comparators wait for each other and never crosswise.
        for (context, pattern), tally in sorted(tallies.items()):
            name = pattern if _has_room(context, pattern) else OTHER
            _add_route(context, name, tally)
            _add_places(context, name, tally)


def _has_room(context: str, pattern: str) -> bool:
    rows = ShadowRoute.objects.using(settings().DATABASE).filter(context=context)
    return rows.filter(pattern=pattern).exists() or rows.count() < PATTERNS_MOST


def _add_route(context: str, pattern: str, tally: Tally) -> None:
    row, _ = (
        ShadowRoute.objects.using(settings().DATABASE)
        .select_for_update()
        .get_or_create(context=context, pattern=pattern)
    )
    row.compared += tally.compared
    row.different += tally.different
    row.late += tally.late
    row.dropped += tally.dropped
    for reason, count in tally.skips.items():
        row.skips[reason] = row.skips.get(reason, 0) + count
    row.last_seen = Now()
    row.save(using=settings().DATABASE)


def _add_places(context: str, pattern: str, tally: Tally) -> None:
    rows = ShadowDifference.objects.using(settings().DATABASE)
    full = rows.filter(context=context, pattern=pattern).count() >= PLACES_MOST
    for (path, kind), place in sorted(tally.places.items()):
        where: dict[str, Any] = {"context": context, "pattern": pattern, "path": path, "kind": str(kind)}
        if full and not rows.filter(**where).exists():
            where["path"] = OTHER
        row, _ = rows.select_for_update().get_or_create(**where)
        row.count += place.count
        row.ruled += place.ruled
        row.noise += place.noise
        row.samples = [*row.samples, *_documents(place.samples)][:SAMPLES_KEPT]
        row.last_seen = Now()
        row.save(using=settings().DATABASE)


def _documents(samples: Iterable[Sample]) -> list[dict[str, str]]:
    return [{"owner": each.owner, "candidate": each.candidate} for each in samples]
