"""What readers got from each side of a context, summed over all proxies: reported by them, read by the ramp."""

from collections.abc import Iterable

from django.db import transaction

from migration_tools.conf import settings
from migration_tools.routing.counts import Counts, Observed
from migration_tools.routing.models import ReadTraffic
from migration_tools.routing.table import Side


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
