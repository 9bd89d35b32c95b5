"""Look at a context from both sides and keep what was seen, for readers that may not connect to both."""

import datetime as dt
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import TruncHour
from django.utils import timezone

from migration_tools.capture.models import Side
from migration_tools.capture.refusals import refusals
from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.overview.chain import read_latest
from migration_tools.overview.copied import read_copied
from migration_tools.overview.looking import PATIENCE_MS, looking
from migration_tools.overview.old_tables import read_users, read_uses
from migration_tools.overview.road import read_gates, read_plan, read_remaining, read_road
from migration_tools.overview.story import service
from migration_tools.overview.waiting import read_waiting
from migration_tools.overview.wayback import read_way_back
from migration_tools.phases.status import read_status
from migration_tools.phases.surroundings import Surroundings, surroundings
from migration_tools.playbook.declaration import Playbook
from migration_tools.routing.counts import Counts
from migration_tools.routing.shadow.report import read_report
from migration_tools.routing.traffic import read_traffic
from migration_tools.state.journal import read_context
from migration_tools.state.models import Observation, Sample
from migration_tools.state.phase import Phase

VERSION = 1
KEEP = dt.timedelta(hours=1)
# Of older samples the last one of each hour stays, for what goes on for weeks; so far back is looked for others.
THINNED = dt.timedelta(hours=4)
LATEST_SHOWN = 20


def observe(playbook: type[Playbook]) -> dict[str, Any]:
    """Everything the console and strangle_top show of a context, as JSON values; touches nothing.

    What cannot be seen because a side does not answer is left empty, and `problem` says why.
    """
    context = playbook.context
    row = read_context(context)
    phase = Phase(row.phase)
    before = Observation.objects.using(settings().DATABASE).filter(context=context).first()
    status = read_status(playbook)
    shadow = read_report(context)
    facts: dict[str, Any] = {
        "users": [],
        "reads_percent": status["route"]["reads_percent"] if status["route"] else None,
        "parked": sum(side.get("dead_letters", 0) for side in status["sides"].values()),
        "shadow_open": len(shadow.open),
    }
    document: dict[str, Any] = {
        "version": VERSION,
        "context": context,
        "at": timezone.now().isoformat(),
        "status": status,
        "road": read_road(phase, [], kept=status["kept_copies"]),
        "gates": [],
        "plan": [],
        "way_back": None,
        "remaining": [],
        "copied": None,
        "uses": [],
        "users": [],
        "fenced": {},
        "traffic": {side: counts_to_json(counts) for side, counts in read_traffic(context).items()},
        "shadow": {"compared": shadow.compared, "different": shadow.different, "open": facts["shadow_open"]},
        "service": {},
        "problem": "",
    }
    try:
        document["service"] = read_service(playbook)
    except StrangleError as error:
        document["problem"] = str(error)
    try:
        with surroundings(playbook, purpose="observe") as env:
            _look_closely(env, document, facts, before.document if before else {})
    except StrangleError as error:
        document["problem"] = str(error)
    return document


def _look_closely(env: Surroundings, document: dict[str, Any], facts: dict[str, Any], before: dict[str, Any]) -> None:
    for conn in (env.source, env.target):
        conn.execute("SELECT set_config('statement_timeout', %s, false)", [str(PATIENCE_MS)])
    row = read_context(env.context)
    phase = Phase(row.phase)
    document["gates"] = read_gates(env, phase)
    document["road"] = read_road(phase, document["gates"], kept=document["status"]["kept_copies"])
    document["plan"] = read_plan(env, phase)
    document["way_back"] = read_way_back(env, row)
    document["copied"] = read_copied(env, samples(env.context, minutes=2))
    document["uses"] = read_uses(env)
    document["users"] = facts["users"] = read_users(env, before.get("users", []))
    document["remaining"] = read_remaining(env, phase, facts)
    document["fenced"] = {side.value: refusals(env.connection(side), env.context) for side in Side}


def read_service(playbook: type[Playbook]) -> dict[str, Any]:
    """What the service's database holds that the monolith's web processes cannot see; payloads by their shape.

    Raises:
        StrangleError: it does not answer.
    """
    place = service(playbook.target)
    with looking(place.alias) as conn:
        latest = read_latest(conn, place, playbook.context, LATEST_SHOWN)
        waiting = read_waiting(conn, place, playbook.context)
    return waiting | {"latest": [each.to_json() for each in latest]}


def keep(document: dict[str, Any]) -> None:
    """Make the document the last observation of its context and add its figures to the samples of the hour."""
    context, alias = document["context"], settings().DATABASE
    with transaction.atomic(using=alias):
        Observation.objects.using(alias).update_or_create(
            context=context, defaults={"document": document, "at": timezone.now()}
        )
        Sample.objects.using(alias).create(context=context, figures=figures(document))
        _thin(alias, context)


def _thin(alias: str, context: str) -> None:
    old = timezone.now() - KEEP
    mine = Sample.objects.using(alias).filter(context=context)
    hour = TruncHour("at")
    later = mine.annotate(hour=hour).filter(hour=OuterRef("hour"), at__gt=OuterRef("at"))
    passed = mine.filter(at__lt=old, at__gte=old - THINNED).annotate(hour=hour).filter(Exists(later))
    mine.filter(pk__in=list(passed.values_list("pk", flat=True))).delete()


def figures(document: dict[str, Any]) -> dict[str, Any]:
    """The few numbers of a document of which curves are drawn."""
    sides = document["status"]["sides"]
    lags = {name: lag["seconds"] for name, lag in document["status"]["lag"].items()}
    return {
        "lag": lags,
        "waiting": {name: side["unnumbered"]["rows"] for name, side in sides.items() if "unnumbered" in side},
        "copied": document["copied"]["rows"] if document["copied"] else 0,
        "fenced": document["fenced"],
        "traffic": document["traffic"],
        "uses": {each["table"]: [each["reads"], each["writes"]] for each in document["uses"]},
        "open": sum(1 for each in document["remaining"] if not each["done"]),
    }


def samples(context: str, *, minutes: float) -> list[Sample]:
    """The samples of the last minutes, the oldest first."""
    since = timezone.now() - dt.timedelta(minutes=minutes)
    return list(Sample.objects.using(settings().DATABASE).filter(context=context, at__gte=since).order_by("at"))


def hourly(context: str) -> list[Sample]:
    """One sample of each hour since the first observation, and the newest one; the oldest first."""
    found = Sample.objects.using(settings().DATABASE).filter(context=context)
    return list(found.annotate(hour=TruncHour("at")).order_by("hour", "-at").distinct("hour"))


def counts_to_json(counts: Counts) -> dict[str, Any]:
    """What readers got from a side, so that two such values can be subtracted again."""
    latencies = {f"{bound:g}": count for bound, count in sorted(counts.latencies.items())}
    return {"requests": counts.requests, "errors": counts.errors, "latencies": latencies}


def counts_from_json(document: dict[str, Any]) -> Counts:
    """Read it back."""
    latencies = {float(bound): int(count) for bound, count in document["latencies"].items()}
    return Counts(requests=document["requests"], errors=document["errors"], latencies=latencies)
