"""The proof that nobody reads or writes a context's old tables, over seconds or days, and who did if somebody did.

Note [copies are read]. Where the tables stay as copies, anybody may read them and our consumer writes them all the
time, so the counters say nothing. A write of somebody else the fence refuses and counts, in a watch of seconds too; one
past the fence holds a lock while it is open, and so does a `SELECT … FOR UPDATE`, which needs the right to write.

Note [three witnesses]. The server's counters miss no scan and no changed row, but do not know whose it was. Sessions
are caught while they hold a lock on a table, with their role and application. A write that the fence refuses touches no
row, so only the fence's own counter sees it. It counts for the whole database, so in a watch of days it is a witness
where no other context is fenced off; in one of seconds it may be a client on its way to the new owner, and is told.
Where pg_stat_statements is there, it says which role's statement it was, too.

Note [a watch of days]. The first run stops the carrying back and journals the counters. Each further run compares; it
ends with StillWatching until the time is over, and keeps what is done. Lost statistics (a crash, a reset) begin
it anew, and so does a use. The tables in quarantine are watched so again before they are dropped.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum
from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.errors import GateNotMet, StillWatching
from migration_tools.phases.archive import old_tables
from migration_tools.phases.surroundings import Surroundings
from migration_tools.routing.models import ReadTraffic
from migration_tools.state.journal import last_evidence, read_context, record
from migration_tools.stores.postgres import Connection

STATISTICS_SECONDS = 1.5
IDLE_STATISTICS_SECONDS = 11.0
LOOK_SECONDS = 0.25
AT_ONE_SITTING = dt.timedelta(minutes=10)
# A write that was under way, or came by an old route, is refused once and tried again at the owner. Who is refused in a
# watch as long as this goes on trying.
REFUSALS_COUNT_FROM = dt.timedelta(minutes=1)
STEP = "watched"
# Whoever may bear the apply path's marks is one of ours: relays and consumers run as the owner of the tables.
# Autovacuum, which has no role, uses nothing.
_SESSIONS = """
    SELECT c.relname::text, a.usename::text, a.application_name,
           bool_or(l.mode = 'RowExclusiveLock'), bool_or(l.mode IN ('RowShareLock', 'RowExclusiveLock')),
           bool_or(starts_with(a.application_name, 'strangle:') OR a.usename = t.tableowner)
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a USING (pid)
    JOIN pg_tables t ON t.tablename = 'strangle_ownership'
    WHERE c.relname = ANY (%s) AND l.granted AND l.pid <> pg_backend_pid() AND a.usename IS NOT NULL
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY 1, 2, 3"""
_STATEMENTS = r"""
    SELECT r.rolname::text, regexp_replace(s.query, '\s+', ' ', 'g'), t.name, sum(s.calls)::bigint
    FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
    JOIN unnest(%s::text[]) t(name) ON s.query ~ ('\m' || t.name || '\M')
    WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.query !~ '\mpg_stat_'
    GROUP BY 1, 2, 3"""
_LAST_TRIED = r"""
    SELECT DISTINCT a.usename::text, a.application_name FROM pg_stat_activity a
    JOIN unnest(%(tables)s::text[]) t(name)
      ON a.query ~* ('\m(insert|update|delete|merge|truncate)\M.*\m' || t.name || '\M')
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.query_start >= %(since)s
      AND NOT starts_with(a.application_name, 'strangle:')"""


@dataclass(frozen=True, kw_only=True)
class Session:
    """Who holds a lock on an old table now: to write rows, or to lock rows, which needs the right to write them too."""

    table: str
    role: str
    application: str
    writes: bool
    locks_rows: bool
    ours: bool

    def __str__(self) -> str:
        return _named(self.role, self.application)


def sessions_on(conn: Connection, tables: list[str]) -> list[Session]:
    """Everybody who holds a lock on one of the tables now."""
    return [
        Session(
            table=str(table),
            role=str(role),
            application=str(application),
            writes=bool(writes),
            locks_rows=bool(locks),
            ours=bool(ours),
        )
        for table, role, application, writes, locks, ours in conn.execute(_SESSIONS, [tables]).fetchall()
    ]


def prove_quiet(env: Surroundings, purpose: str = "decommission", *, readers: bool = False) -> dict[str, Any]:
    """Watch the old tables for the playbook's `quiet`, or the command's `quiet_days`: nobody may read or write them.

    With `readers` anybody may read and our consumer writes; who else writes or locks rows is found.

    `asked` of the answer are the reads that each proxy had seen when the watch began.

    Raises:
        GateNotMet: naming each table that was used, how often, and by whom as far as they were caught.
        StillWatching: nobody did so far, and the time is not over.
    """
    quiet = max(env.playbook.gates.quiet, dt.timedelta(days=float(env.options.get("quiet_days") or 0)))
    tables = old_tables(env)
    long = quiet > AT_ONE_SITTING
    before = _remembered(env) if long else None
    # Statistics of sessions that have just stopped arrive late; of idle ones within ten seconds. Refusals do not.
    late, of_idle = (0.0, 0.0) if readers else (STATISTICS_SECONDS, IDLE_STATISTICS_SECONDS)
    env.wait(late if before or not long else of_idle)
    if before is None:
        before = _look(env.source, env.context, tables)
        if long:
            _remember(env, before)
    caught = _sit(env, tables, 0 if long else quiet.total_seconds() + late)
    after = _look(env.source, env.context, tables)
    since = dt.datetime.fromisoformat(before["at"])
    if after["statistics"] != before["statistics"] or any(after["uses"][t] < before["uses"].get(t, 0) for t in tables):
        _remember(env, after)
        raise StillWatching("the server's statistics were lost meanwhile, so the watch begins anew; run this again")
    used = _written(caught) if readers else _used(tables, before, after, caught)
    used += _refused(env, before, after, tables) if quiet >= REFUSALS_COUNT_FROM or readers else []
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
        "refused_writes": after["refused"] - before["refused"],
        "asked": before["asked"],
    }


def _sit(env: Surroundings, tables: list[str], seconds: float) -> set[Session]:
    """Catch sessions that are not ours for a while."""
    until = timezone.now() + dt.timedelta(seconds=seconds)
    caught: set[Session] = set()
    while True:
        caught |= {each for each in sessions_on(env.source, tables) if not each.ours}
        if timezone.now() >= until:
            return caught
        env.wait(LOOK_SECONDS)


def _look(conn: Connection, context: str, tables: list[str]) -> dict[str, Any]:
    """What the witnesses say now, as JSON."""
    conn.execute("SELECT pg_stat_clear_snapshot()")
    rows = conn.execute(
        """SELECT relname::text, COALESCE(seq_scan, 0) + COALESCE(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del
           FROM pg_stat_user_tables WHERE relname = ANY (%s)""",
        [tables],
    ).fetchall()
    uses = {str(row[0]): int(row[1]) for row in rows}
    (statistics,) = conn.execute(
        "SELECT stats_reset::text FROM pg_stat_database WHERE datname = current_database()"
    ).fetchone() or (None,)
    return {
        "at": timezone.now().isoformat(),
        "uses": {table: uses.get(table, 0) for table in tables},
        "refused": _refusals(conn),
        "statistics": statistics,
        "statements": _statements(conn, tables),
        "asked": asked(context),
    }


def asked(context: str) -> dict[str, int]:
    """Reads of the context that each proxy has seen so far."""
    seen = ReadTraffic.objects.using(settings().DATABASE).filter(context=context)
    return dict(seen.values_list("proxy").annotate(total=Sum("requests")))


def _refusals(conn: Connection) -> int:
    """Writes that the fence has refused in this database; a sequence, which no rollback takes back."""
    if conn.execute("SELECT to_regclass('strangle_fence_blocked')").fetchone() == (None,):
        return 0
    row = conn.execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM strangle_fence_blocked").fetchone()
    return int(row[0]) if row else 0


def _statements(conn: Connection, tables: list[str]) -> list[list[Any]]:
    """Statements that name an old table, with the calls so far; none without the extension or the right to read it."""
    if conn.execute("SELECT to_regclass('pg_stat_statements')").fetchone() == (None,):
        return []
    return [list(row) for row in conn.execute(_STATEMENTS, [tables]).fetchall()]


def _used(tables: list[str], before: dict[str, Any], after: dict[str, Any], caught: set[Session]) -> list[str]:
    told = []
    calls = {tuple(each[:3]): each[3] for each in before["statements"]}
    for table in tables:
        times = after["uses"][table] - before["uses"].get(table, 0)
        if not times:
            continue
        who = sorted({str(each) for each in caught if each.table == table})
        who += [
            f"role {role!r} by {query[:100]!r}, {number - calls.get((role, query, name), 0)} times"
            for role, query, name, number in after["statements"]
            if name == table and number > calls.get((role, query, name), 0)
        ]
        by = f"by {'; '.join(who)}" if who else "by whom was not seen: look in pg_stat_activity"
        told.append(
            f"table {table!r} was read or written {times} times since {before['at'][:19]}, {by}; move it to the "
            f"service's API"
        )
    return told


def _written(caught: set[Session]) -> list[str]:
    """Who wrote the copies past the fence, or locked rows of them, while we looked."""
    return sorted(
        f"table {each.table!r} was {'written' if each.writes else 'read with row locks (SELECT … FOR UPDATE)'} by "
        f"{each}, which needs the right to write; move it to the service's API"
        for each in caught
        if each.writes or each.locks_rows
    )


def _refused(env: Surroundings, before: dict[str, Any], after: dict[str, Any], tables: list[str]) -> list[str]:
    number = after["refused"] - before["refused"]
    (others,) = env.source.execute(
        "SELECT count(*) FROM strangle_ownership WHERE context <> %s AND owner <> side", [env.context]
    ).fetchone() or (0,)
    if not number or others:
        return []
    tried = env.source.execute(_LAST_TRIED, {"tables": tables, "since": before["at"]}).fetchall()
    who = "; ".join(sorted(_named(str(role), str(application)) for role, application in tried))
    return [
        f"the fence refused {number} writes since {before['at'][:19]}: somebody still tries"
        + (f", the last was {who}" if who else "")
        + f"; find them in the server's log by {env.context + ' is not owned here'!r}, and move them to the service's "
        "API"
    ]


def _named(role: str, application: str) -> str:
    return f"role {role!r}" + (f" ({application})" if application else "")


def discount(env: Surroundings) -> None:
    """After the operator has read the tables itself: let a watch of days go on from the counters as they are now."""
    before = _remembered(env)
    if before is not None:
        env.source.execute("SELECT pg_stat_force_next_flush()")
        after = _look(env.source, env.context, old_tables(env))
        _remember(env, {**before, "uses": after["uses"], "statements": after["statements"]})


def begin_anew(env: Surroundings) -> None:
    """Somebody was found by other means: a watch of days begins from now."""
    if _remembered(env) is not None:
        _remember(env, _look(env.source, env.context, old_tables(env)))


def _remember(env: Surroundings, seen: dict[str, Any]) -> None:
    record(env.context, "decommission", STEP, {**seen, "move_began": _began(env)})


def _remembered(env: Surroundings) -> dict[str, Any] | None:
    """The watch's beginning, if it is of the move that is under way: one that was undone wrote the tables again."""
    seen = last_evidence(env.context, STEP)
    return seen if seen and seen.get("move_began") == _began(env) else None


def _began(env: Surroundings) -> str:
    row = read_context(env.context)
    return str(row.move_started_at or row.since)
