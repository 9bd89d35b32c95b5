"""Phases, verifications, routes, shadows and the fence as figures for metrics, where this side has their tables."""

from collections.abc import Iterator

from django.apps import apps
from django.db.models import F, Sum

from migration_tools.capture.refusals import all_refusals
from migration_tools.conf import settings
from migration_tools.messaging import metrics as messaging
from migration_tools.messaging.metrics import Sample
from migration_tools.routing import publishing
from migration_tools.state.kept import keeps_copies
from migration_tools.state.models import Context, JournalEntry, Verification
from migration_tools.state.phase import ORDER, Phase
from migration_tools.stores.postgres import Connection
from migration_tools.verification.report import DifferenceKind

#: Name: (type, what it says); what `messaging.metrics` tells on either side, and what only the monolith knows.
FAMILIES = {
    **messaging.FAMILIES,
    "strangle_fence_blocked_total": ("counter", "Writes that this database's fences refused."),
    "strangle_phase": ("gauge", "1 for the phase that a context is in, 0 for the others."),
    "strangle_copies_kept": ("gauge", "1 where the old tables stay as copies that follow, 0 where they are put away."),
    "strangle_move_seconds": ("gauge", "Since when a move is under way; absent when none is."),
    "strangle_cutover_pause_seconds": ("gauge", "How long writers were shut out by the last hand-over."),
    "strangle_verify_rows_total": ("counter", "Rows compared by all kept verifications, by result."),
    "strangle_verify_age_seconds": ("gauge", "Since when no verification was kept."),
    "strangle_divergent_rows": ("gauge", "Rows that differed in the last verification, by class."),
    "strangle_route_read_percent": ("gauge", "Share of readers that the service answers."),
    "strangle_route_requests_total": ("counter", "Reads that a side answered through the proxies, by outcome."),
    "strangle_shadow_compared_total": ("counter", "Shadow reads that were compared."),
    "strangle_shadow_mismatch_total": ("counter", "Shadow reads whose answers differed beyond noise."),
}


def collect(conn: Connection) -> Iterator[Sample]:
    """Everything this side knows; a service has no phases and no routes."""
    yield from messaging.collect(conn)
    for context, hits in all_refusals(conn).items():
        yield Sample(name="strangle_fence_blocked_total", value=hits, labels={"context": context})
    if apps.is_installed("migration_tools.state"):
        yield from _moves()
        yield from _verifications()
    if apps.is_installed("migration_tools.routing"):
        yield from _routes()


def _moves() -> Iterator[Sample]:
    from django.utils import timezone

    for row in Context.objects.using(settings().DATABASE).order_by("name"):
        for phase in ORDER:
            labels = {"context": row.name, "phase": phase.value}
            yield Sample(name="strangle_phase", value=int(row.phase == phase), labels=labels)
        if row.phase == Phase.DECOMMISSION:
            of = {"context": row.name}
            yield Sample(name="strangle_copies_kept", value=int(keeps_copies(row.name)), labels=of)
        if row.move_started_at is not None:
            seconds = (timezone.now() - row.move_started_at).total_seconds()
            yield Sample(name="strangle_move_seconds", value=seconds, labels={"context": row.name})
        last = (
            JournalEntry.objects.using(settings().DATABASE)
            .filter(context=row.name, step="handed_over")
            .order_by("-id")
            .first()
        )
        if last is not None and "pause_ms" in last.evidence:
            pause = float(last.evidence["pause_ms"]) / 1000
            yield Sample(name="strangle_cutover_pause_seconds", value=pause, labels={"context": row.name})


def _verifications() -> Iterator[Sample]:
    from django.utils import timezone

    rows = Verification.objects.using(settings().DATABASE)
    sums = rows.values("context").annotate(equal=Sum(F("rows") - F("differences")), differ=Sum("differences"))
    for each in sums.order_by("context"):
        context = each["context"]
        for result, count in (("equal", max(each["equal"], 0)), ("different", each["differ"])):
            labels = {"context": context, "result": result}
            yield Sample(name="strangle_verify_rows_total", value=count, labels=labels)
        last = rows.filter(context=context).order_by("-id").first()
        if last is None:
            continue
        age = (timezone.now() - last.at).total_seconds()
        yield Sample(name="strangle_verify_age_seconds", value=age, labels={"context": context})
        found = last.report.get("by_class", {})
        for kind in DifferenceKind:
            labels = {"context": context, "class": kind.value}
            yield Sample(name="strangle_divergent_rows", value=found.get(kind.value, 0), labels=labels)


def _routes() -> Iterator[Sample]:
    from migration_tools.routing.models import ShadowRoute
    from migration_tools.routing.traffic import read_traffic

    for name, route in publishing.current().contexts.items():
        yield Sample(name="strangle_route_read_percent", value=route.reads_percent, labels={"context": name})
        for side, counts in read_traffic(name).items():
            of = {"context": name, "side": {"old": "monolith", "new": "service"}[side]}
            name_ = "strangle_route_requests_total"
            yield Sample(name=name_, value=counts.requests - counts.errors, labels=of | {"outcome": "answered"})
            yield Sample(name=name_, value=counts.errors, labels=of | {"outcome": "error"})
    rows = ShadowRoute.objects.using(settings().DATABASE).values("context")
    for each in rows.annotate(all=Sum("compared"), bad=Sum("different")).order_by("context"):
        of = {"context": each["context"]}
        yield Sample(name="strangle_shadow_compared_total", value=each["all"], labels=of)
        yield Sample(name="strangle_shadow_mismatch_total", value=each["bad"], labels=of)
