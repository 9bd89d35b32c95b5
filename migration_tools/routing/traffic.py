"""What readers got from each side of a context, summed over all proxies: reported by them, read by the ramp."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.db import transaction

from migration_tools.conf import settings
from migration_tools.routing.models import ReadTraffic
from migration_tools.routing.table import Side


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Answers, those that were errors (5xx), and answers by upper bound of their time in milliseconds."""

    requests: int = 0
    errors: int = 0
    latencies: Mapping[float, int] = field(default_factory=dict)

    def __add__(self, other: "Counts") -> "Counts":
        return self._with(other, 1)

    def __sub__(self, other: "Counts") -> "Counts":
        return self._with(other, -1)

    def quantile(self, share: float) -> float | None:
        """An upper bound in milliseconds of this quantile of the answer times; None without answers."""
        total, seen = sum(self.latencies.values()), 0
        for bound in sorted(self.latencies):
            seen += self.latencies[bound]
            if total and seen >= share * total:
                return bound
        return None

    def _with(self, other: "Counts", sign: int) -> "Counts":
        bounds = self.latencies.keys() | other.latencies.keys()
        return Counts(
            requests=self.requests + sign * other.requests,
            errors=self.errors + sign * other.errors,
            latencies={b: self.latencies.get(b, 0) + sign * other.latencies.get(b, 0) for b in bounds},
        )


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What one proxy saw of one side of a context since it last said so."""

    context: str
    side: Side
    counts: Counts


def report_traffic(proxy: str, observed: Iterable[Observed]) -> None:
    """Add what a proxy saw to its sums; opens its own transaction."""
    with transaction.atomic(using=settings().DATABASE):
        for each in observed:
            row, _ = (
                ReadTraffic.objects.using(settings().DATABASE)
                .select_for_update()
                .get_or_create(proxy=proxy, context=each.context, side=each.side)
            )
            total = _counts(row) + each.counts
            row.requests, row.errors = total.requests, total.errors
            row.latencies = {f"{bound:g}": count for bound, count in sorted(total.latencies.items())}
            row.save()


def read_traffic(context: str) -> dict[Side, Counts]:
    """The sums of both sides of a context over all proxies, so that two readings can be subtracted."""
    found: dict[Side, Counts] = {"old": Counts(), "new": Counts()}
    for row in ReadTraffic.objects.using(settings().DATABASE).filter(context=context):
        side: Side = "new" if row.side == "new" else "old"
        found[side] += _counts(row)
    return found


def _counts(row: ReadTraffic) -> Counts:
    return Counts(
        requests=row.requests,
        errors=row.errors,
        latencies={float(bound): int(count) for bound, count in row.latencies.items()},
    )
