"""Evidence that moves need, each as a function that returns what is missing, in sentences."""

import datetime as dt

from django.utils import timezone

from migration_tools.capture.installation import Status, inspect
from migration_tools.capture.log_installation import log_findings
from migration_tools.capture.models import Side
from migration_tools.conf import settings
from migration_tools.kernel.planes import Plane
from migration_tools.messaging import lag as lags
from migration_tools.messaging.dead_letters import count as dead_letters
from migration_tools.messaging.inbox import standstill
from migration_tools.phases.settling import count_open, found_open, say_open
from migration_tools.phases.surroundings import Surroundings
from migration_tools.playbook.registry import load
from migration_tools.playbook.ties import ties
from migration_tools.routing import publishing
from migration_tools.routing.planes.capabilities import capabilities
from migration_tools.state.journal import read_context
from migration_tools.state.models import Context, JournalEntry, Verification
from migration_tools.state.phase import Phase
from migration_tools.stores.postgres import sql

# Where one side has all of a context, and nothing of it is under way.
_SETTLED = (Phase.MONOLITH_ONLY, Phase.CUTOVER, Phase.DECOMMISSION)


def target_empty(env: Surroundings) -> list[str]:
    """The target tables hold no rows yet."""
    missing = []
    for projection in (*env.playbook.projections, *env.playbook.references):
        query = sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT 1000) s").format(sql.Identifier(projection.into))
        row = env.target.execute(query).fetchone()
        if row and row[0]:
            held = f"{row[0]}" if row[0] < 1000 else "1000 or more"
            missing.append(
                f"target table {projection.into!r} is not empty ({held} rows); empty it, or run strangle_dual_write "
                f"{env.context} --adopt to have the backfill replace what it holds"
            )
    return missing


def alone(env: Surroundings) -> list[str]:
    """No context that this one is tied to is between its dual write and its cutover, or the operator accepts it."""
    accepted, known, missing = set(env.options.get("beside") or ()), load(), []
    under_way = Context.objects.using(settings().DATABASE).exclude(name__in=[env.context, *accepted])
    for row in under_way.exclude(move=None, phase__in=_SETTLED).order_by("name"):
        tied = ties(env.playbook, known[row.name]) if row.name in known else []
        if tied:
            missing.append(
                f"{row.name!r} is on its way ({row.move or row.phase}) and tied to {env.context!r}: {'; '.join(tied)}; "
                f"one context moves at a time: bring {row.name!r} to its cutover, or back (strangle_rollback "
                f"{row.name}), or accept both with strangle_dual_write {env.context} --beside {row.name}"
            )
    return missing


def capture_installed(env: Surroundings) -> list[str]:
    """Triggers and relations are as the playbook declares them, on both sides."""
    missing = log_findings(env.source, env.context)
    for side in Side:
        for finding in inspect(env.connection(side), env.compiled.side(side)):
            if finding.status is not Status.INSTALLED:
                missing.append(
                    f"{finding.object} on the {side.value} is {finding}; run strangle_doctor {env.context} --mend"
                )
    return missing


def consumer_alive(env: Surroundings, sender: Side) -> list[str]:
    """A relay numbers the sender's outbox and a consumer of it has been heard of lately."""
    conn = env.connection(sender)
    what = "the service's" if sender is Side.SOURCE else "the monolith's"
    missing = []
    waiting = lags.unnumbered(conn, env.context)
    if waiting.rows and waiting.seconds > env.playbook.gates.max_lag.total_seconds():
        missing.append(
            f"{waiting.rows} outbox rows of the {sender.value} wait for a relay since {waiting.seconds:.1f} s; "
            f"start strangle_relay {env.context} there"
        )
    found = lags.consumers(conn, env.context)
    alive = [each for each in found if each.silent_seconds < settings().CONSUMER_ALIVE_SECONDS]
    if not alive:
        missing.append(f"{what} consumer has not been heard of; start strangle_consume {env.context} on that side")
    return missing


def lag_small(env: Surroundings, sender: Side) -> list[str]:
    """Every living consumer of the sender's stream is within the playbook's max_lag."""
    limit = env.playbook.gates.max_lag.total_seconds()
    return [
        f"consumer {each.consumer!r} of the {sender.value}'s stream is {each.seconds:.1f} s ({each.events} records) "
        f"behind, "
        f"more than {limit:g} s; wait for it (strangle_status {env.context})"
        for each in lags.consumers(env.connection(sender), env.context)
        if each.seconds > limit and each.silent_seconds < settings().CONSUMER_ALIVE_SECONDS
    ]


def no_dead_letters(env: Surroundings) -> list[str]:
    """No event waits to be handled on either side, and no consumer stands still before what it cannot apply."""
    missing = []
    for side in Side:
        waiting = dead_letters(env.connection(side), env.context)
        if waiting:
            missing.append(
                f"{waiting} {'event is' if waiting == 1 else 'events are'} parked on the {side.value}; mend their "
                f"handler, then run strangle_dead_letters replay {env.context} there, or skip them with a reason"
            )
        reason = standstill(env.connection(side), env.context)
        if reason:
            missing.append(f"the {side.value}'s consumer of {env.context!r} stands still: {reason}")
    return missing


def no_open_sagas(env: Surroundings) -> list[str]:
    """No saga of the context is under way on either side, or the operator lets them end or leaves them where they are.

    Asked again, with the intake closed, when the owner changes; see Note [open sagas].
    """
    if env.options.get("drain_sagas") or env.options.get("pin_sagas"):
        return []
    return [say_open(env.context, side, sagas) for side, sagas in found_open(env).items() if sagas.count]


def no_pinned_sagas(env: Surroundings) -> list[str]:
    """No saga of the context is left in the monolith, whose tables are about to go."""
    sagas = found_open(env).get(Side.SOURCE)
    if sagas is None or not sagas.count:
        return []
    return [
        f"{count_open(env.context, sagas)} on the source ({', '.join(sagas.oldest)}), whose tables are "
        f"about to go; settle them (strangle_sagas list --context {env.context})"
    ]


def writes_can_wait(env: Surroundings) -> list[str]:
    """The data plane holds writes during the hand-over and says so, or the operator lets the fence refuse them."""
    if env.options.get("allow_refused_writes") or env.context not in publishing.current().contexts:
        return []
    plane = settings().DATA_PLANE
    able = capabilities(plane)
    if plane == Plane.ENVOY or (able.hold and able.confirms and publishing.live_proxies()):
        return []
    if not able.hold:
        lacks = "cannot hold writes"
    elif not able.confirms:
        lacks = "has nobody who says that a hold is in force"
    else:
        lacks = f"has not been heard of (start {able.confirms})"
    return [
        f"the data plane {plane!r} {lacks}, so during the hand-over the fence would answer writes with 503 and "
        f"Retry-After, until the plane sends them to the new owner; allow that with strangle_cutover {env.context} "
        f"--allow-refused-writes, or use the data plane 'envoy'"
    ]


def readers_stay(env: Surroundings) -> list[str]:
    """The data plane keeps a reader on a side while a share is between 0 and 100 %, or the operator does not mind."""
    plane = settings().DATA_PLANE
    shares = [share for share in env.options.get("shares", [env.options.get("percent")]) if share and 0 < share < 100]
    if not shares or capabilities(plane).sticky or env.options.get("allow_unsticky"):
        return []
    return [
        f"the data plane {plane!r} draws a side for every request anew, so {shares[0]:g} % of the reads would send "
        f"users to and fro; use 0 or 100 %, or allow it with --allow-unsticky"
    ]


def all_reads_moved(env: Surroundings) -> list[str]:
    """Every proxy is heard of, and all reads of a routed context are on the service."""
    route = publishing.current().contexts.get(env.context)
    if route is None:
        return []
    missing = publishing.silent_proxies()
    if route.reads_percent < 100:
        missing.append(
            f"only {route.reads_percent:g} % of the reads are on the service; run strangle_switch_reads "
            f"{env.context} --percent 100"
        )
    return missing


def not_shadowed(env: Surroundings) -> list[str]:
    """No shadow read asks the monolith, whose tables are about to go."""
    route = publishing.current().contexts.get(env.context)
    if route is None or not route.shadow_percent:
        return []
    return [
        f"{route.shadow_percent:g} % of the reads of {env.context!r} are shadowed, which asks the old side too; "
        f"run strangle_route set {env.context} shadow=0%"
    ]


def verified(env: Surroundings) -> list[str]:
    """The last verifications were clean, as many as the playbook asks, all since the last copy or repair."""
    needed = env.playbook.gates.clean_verifications
    clean = clean_streak(env)
    if clean >= needed:
        return []
    return [
        f"{clean} of {needed} clean verifications in a row since the last change of rows by us; run strangle_verify "
        f"{env.context}"
    ]


def clean_streak(env: Surroundings) -> int:
    """How many verifications in a row were clean, the latest backwards, none older than the last copy or repair."""
    changed = last_change(env)
    results = Verification.objects.using(env.playbook.source).filter(context=env.context).order_by("-id")
    streak = 0
    for result in results[:100]:
        if result.differences or (changed is not None and result.at < changed):
            break
        streak += 1
    return streak


def last_change(env: Surroundings) -> dt.datetime | None:
    """When we last changed rows otherwise than by the sync: what was verified before says nothing any more."""
    return (
        JournalEntry.objects.using(env.playbook.source)
        .filter(context=env.context, step__in=["copied", "repaired", "handed_over", "cleared"])
        .order_by("-id")
        .values_list("at", flat=True)
        .first()
    )


def soaked(env: Surroundings) -> list[str]:
    """The context has been in its phase long enough."""
    since = read_context(env.context).since
    left = env.playbook.gates.soak - (timezone.now() - since)
    if left <= dt.timedelta(0):
        return []
    return [
        f"the context is in its phase since {since:%H:%M:%S} and must soak {left.total_seconds():.0f} s more "
        f"(gates.soak)"
    ]
