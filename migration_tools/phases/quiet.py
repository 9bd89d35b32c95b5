"""The proof that nobody reads or writes a context's old tables, over seconds or days, and who did if somebody did.

Note [copies are read]. Where the tables stay as copies, anybody may read them and our consumer writes them all the
time, so the counters say nothing. A write of somebody else the fence refuses and counts, in a watch of seconds too; one
past the fence holds a lock while it is open, and so does a `SELECT … FOR UPDATE`, which needs the right to write.

Note [three witnesses]. The server's counters miss no scan and no changed row, but do not know whose it was. Sessions
are caught while they hold a lock on a table, with their role and application; the owner's too, and the toolkit's own,
such as a relay whose other context's rows are made of these. A write that the fence refuses touches no row, so only the
context's own counter of refusals sees it. In a watch of days that is a writer left; in one of seconds it may be a
client on its way to the new owner, and is told. Where pg_stat_statements is there, it says which role's statement it
was, too.

Note [reads elsewhere]. What reads a streaming replica leaves no trace on the primary, and fails when the tables go all
the same. So each of READ_REPLICAS is looked at too, and standbys that stream without being named there are told of.

Note [a watch of days]. The first run stops the carrying back and journals the counters. Each further run compares; it
ends with StillWatching until the time is over, and keeps what is done. Lost statistics (a crash, a reset) begin
it anew, and so does a use. The tables in quarantine are watched so again before they are dropped.
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db.models import Sum
from django.utils import timezone

from migration_tools.capture.refusals import refusals
from migration_tools.conf import settings
from migration_tools.errors import GateNotMet, StillWatching
from migration_tools.phases.archive import old_tables
from migration_tools.phases.surroundings import Surroundings
from migration_tools.phases.witnesses import (
    Session,
    last_tried,
    sessions_on,
    statements_on,
    told_uses,
    told_writes,
    uses_of,
)
from migration_tools.routing.models import ReadTraffic
from migration_tools.state.journal import last_evidence, read_context, record
from migration_tools.stores.postgres import Connection, connect

STATISTICS_SECONDS = 1.5
IDLE_STATISTICS_SECONDS = 11.0
LOOK_SECONDS = 0.25
AT_ONE_SITTING = dt.timedelta(minutes=10)
# A write that was under way, or came by an old route, is refused once and tried again at the owner. Who is refused in a
# watch as long as this goes on trying.
REFUSALS_COUNT_FROM = dt.timedelta(minutes=1)
STEP = "watched"
HERE = ""
_STANDBYS = """
    SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' AND pid NOT IN
      (SELECT active_pid FROM pg_replication_slots WHERE slot_type = 'logical' AND active_pid IS NOT NULL)"""


def prove_quiet(env: Surroundings, purpose: str = "decommission", *, readers: bool = False) -> dict[str, Any]:
    """Watch the old tables for the playbook's `quiet`, or the command's `quiet_days`: nobody may read or write them.

    With `readers` anybody may read and our consumer writes; who else writes or locks rows is found.

    `asked` of the answer are the reads that each proxy had seen when the watch began.

    Raises:
        GateNotMet: naming each table that was used, how often, and by whom as far as they were caught.
        StillWatching: nobody did so far, and the time is not over.
    """
    with _replicas(env, read=not readers) as replicas:
        return _prove_quiet(env, purpose, replicas, readers=readers)


def _prove_quiet(env: Surroundings, purpose: str, replicas: dict[str, Connection], *, readers: bool) -> dict[str, Any]:
    quiet = max(env.playbook.gates.quiet, dt.timedelta(days=float(env.options.get("quiet_days") or 0)))
    tables = old_tables(env)
    long = quiet > AT_ONE_SITTING
    before = _remembered(env) if long else None
    # Statistics of sessions that have just stopped arrive late; of idle ones within ten seconds. Refusals do not.
    late, of_idle = (0.0, 0.0) if readers else (STATISTICS_SECONDS, IDLE_STATISTICS_SECONDS)
    env.wait(late if before or not long else of_idle)
    began: dict[str, Any] = {}
    while True:
        if before is None:
            before = _look(env, tables, replicas)
            if long:
                _remember(env, before)
        began = began or before
        caught = _sit(env, tables, replicas, 0 if long else quiet.total_seconds() + late, ours=not readers)
        after = _look(env, tables, replicas)
        since = dt.datetime.fromisoformat(before["at"])
        if _lost(before, after):
            _remember(env, after)
            raise StillWatching("the server's statistics were lost meanwhile, so the watch begins anew; run this again")
        used = told_writes(caught[HERE]) if readers else told_uses(tables, before, after, caught[HERE])
        for name in replicas:
            used += told_uses(tables, before["replicas"][name], after["replicas"][name], caught[name], on=name)
        if long or not of_idle or not used or _somebody_seen(before, after, caught):
            break
        # Note [late counts]: an idle session tells of its uses up to ten seconds late, and a statement is told of at
        # once. What was counted with nobody seen may be older than the watch: a second one leaves that out.
        env.say(f"{'; '.join(used)}; if an idle session counted it late, a second watch sees nothing of it")
        before, seconds, of_idle = None, of_idle, 0.0
        env.wait(seconds)
    used += _refused(env, began, after, tables) if quiet >= REFUSALS_COUNT_FROM or readers else []
    if used:
        if long:
            _remember(env, after)
        raise GateNotMet(env.context, purpose, used)
    left = quiet - (timezone.now() - since)
    if long and left > dt.timedelta(0):
        raise StillWatching(
            f"nobody has {'written' if readers else 'used'} the old tables of {env.context!r} since "
            f"{since:%Y-%m-%d %H:%M}; {left.total_seconds() / 86_400:.2f} days are left: run this again until then, as "
            "often as you like"
        )
    return {
        "quiet_seconds": quiet.total_seconds(),
        "tables": tables,
        "watched_since": before["at"],
        "refused_writes": after["refused"] - began["refused"],
        "asked": before["asked"],
    }


@contextmanager
def _replicas(env: Surroundings, *, read: bool = True) -> Iterator[dict[str, Connection]]:
    """Connections to the replicas that reads of the monolith may go to, by alias; none if reads do not matter.

    Raises:
        StrangleError: one does not answer, so nobody can say whether it is read.
    """
    known = settings().READ_REPLICAS if read and env.playbook.source == settings().DATABASE else {}
    found = sorted(str(row[0]) for row in env.source.execute(_STANDBYS).fetchall())
    if read and len(found) > len(known):
        env.say(
            f"{len(found)} standbys stream from here ({', '.join(found)}), and READ_REPLICAS names {len(known)}: who "
            "reads the others is not seen"
        )
    with ExitStack() as stack:
        yield {alias: stack.enter_context(connect(alias, "watch")) for alias in known}


def _sit(
    env: Surroundings, tables: list[str], replicas: dict[str, Connection], seconds: float, *, ours: bool
) -> dict[str, set[Session]]:
    """Catch sessions for a while, by place; the toolkit's only where nothing of it has business there any more."""
    until = timezone.now() + dt.timedelta(seconds=seconds)
    places = {HERE: env.source, **replicas}
    caught: dict[str, set[Session]] = {place: set() for place in places}
    while True:
        for place, conn in places.items():
            caught[place] |= {each for each in sessions_on(conn, tables) if ours or not each.ours}
        if timezone.now() >= until:
            return caught
        env.wait(LOOK_SECONDS)


def _look(env: Surroundings, tables: list[str], replicas: dict[str, Connection]) -> dict[str, Any]:
    """What the witnesses say now, as JSON."""
    return {
        **_look_at(env.source, tables),
        "refused": refusals(env.source, env.context),
        "asked": asked(env.context),
        "replicas": {alias: _look_at(conn, tables) for alias, conn in replicas.items()},
    }


def _look_at(conn: Connection, tables: list[str]) -> dict[str, Any]:
    (statistics,) = conn.execute(
        "SELECT stats_reset::text FROM pg_stat_database WHERE datname = current_database()"
    ).fetchone() or (None,)
    return {
        "at": timezone.now().isoformat(),
        "uses": {table: reads + writes for table, (reads, writes) in uses_of(conn, tables).items()},
        "statistics": statistics,
        "statements": statements_on(conn, tables),
    }


def _lost(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a server has forgotten what it had counted, or another one is looked at."""
    if before["replicas"].keys() != after["replicas"].keys() or after["refused"] < before["refused"]:
        return True
    pairs = [(before, after), *((before["replicas"][name], seen) for name, seen in after["replicas"].items())]
    return any(
        now["statistics"] != then["statistics"]
        or any(count < then["uses"].get(table, 0) for table, count in now["uses"].items())
        for then, now in pairs
    )


def _somebody_seen(before: dict[str, Any], after: dict[str, Any], caught: dict[str, set[Session]]) -> bool:
    """Whether a session was caught during the watch, or a statement on the tables ended in it, in any place."""
    pairs = [(before, after), *((before["replicas"][name], seen) for name, seen in after["replicas"].items())]
    return any(caught.values()) or any(
        {tuple(each) for each in now["statements"]} != {tuple(each) for each in then["statements"]}
        for then, now in pairs
    )


def asked(context: str) -> dict[str, int]:
    """Reads of the context that each proxy has seen so far."""
    seen = ReadTraffic.objects.using(settings().DATABASE).filter(context=context)
    return dict(seen.values_list("proxy").annotate(total=Sum("requests")))


def _refused(env: Surroundings, before: dict[str, Any], after: dict[str, Any], tables: list[str]) -> list[str]:
    number = after["refused"] - before["refused"]
    if not number:
        return []
    who = "; ".join(last_tried(env.source, tables, before["at"]))
    return [
        f"the fence refused {number} writes since {before['at'][:19]}: somebody still tries"
        + (f", the last was {who}" if who else "")
        + f"; find them in the server's log by {env.context + ' is not owned here'!r}, and move them to the service's "
        "API"
    ]


def discount(env: Surroundings) -> None:
    """After the operator has read the tables itself: let a watch of days go on from the counters as they are now."""
    before = _remembered(env)
    if before is not None:
        env.source.execute("SELECT pg_stat_force_next_flush()")
        after = _look_at(env.source, old_tables(env))
        _remember(env, {**before, "uses": after["uses"], "statements": after["statements"]})


def begin_anew(env: Surroundings) -> None:
    """Somebody was found by other means: a watch of days begins from now."""
    if _remembered(env) is not None:
        with _replicas(env) as replicas:
            _remember(env, _look(env, old_tables(env), replicas))


def _remember(env: Surroundings, seen: dict[str, Any]) -> None:
    record(env.context, "decommission", STEP, {**seen, "move_began": _began(env)})


def _remembered(env: Surroundings) -> dict[str, Any] | None:
    """The watch's beginning, if it is of the move that is under way: one that was undone wrote the tables again."""
    seen = last_evidence(env.context, STEP)
    return seen if seen and seen.get("move_began") == _began(env) and "replicas" in seen else None


def _began(env: Surroundings) -> str:
    row = read_context(env.context)
    return str(row.move_started_at or row.since)
