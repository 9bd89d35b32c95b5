"""Probes of the throttle: each looks at one thing just before a chunk and says why to wait, or nothing.

Each is one short query of statistics that PostgreSQL keeps anyway, save the write latency. For that the copy times a
commit of its own to the source: pg_stat_statements knows means and no percentiles, is not everywhere, and reading it
costs more than the write.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from migration_tools.errors import SettingsError
from migration_tools.kernel.limits import Limits, may_run_at
from migration_tools.messaging import lag as lags
from migration_tools.stores.postgres import Connection

LATENCY_WINDOW_SECONDS = 3.0
RATE_WINDOW_SECONDS = 1.0
GONE_SECONDS = 5.0


class Probe(Protocol):
    """One reason to wait."""

    def look(self) -> str | None:
        """Why the next chunk must wait, in a few words with value and limit; None when it need not."""


class Lag:
    """The stream's consumer, or its relay, is behind: the sync goes first."""

    def __init__(self, sender: Connection, stream: str, limit: float) -> None:
        self._conn, self._stream, self._limit = sender, stream, limit

    def look(self) -> str | None:
        """See Probe; a consumer that was not heard of for long is not waited for, the stops apply its records."""
        for each in lags.consumers(self._conn, self._stream):
            if each.seconds > self._limit and each.silent_seconds < self._limit + GONE_SECONDS:
                return f"consumer {each.consumer!r} is {each.seconds:.1f} s behind (limit {self._limit:g} s)"
        return None


class WriteLatency:
    """The slowest of the last seconds' commits to the source: what the application's writes feel now."""

    def __init__(self, source: Connection, stream: str, limit: float) -> None:
        self._conn, self._stream, self._limit = source, stream, limit
        self._seen: deque[tuple[float, float]] = deque()

    def look(self) -> str | None:
        """See Probe."""
        began = time.monotonic()
        self._conn.execute(
            "UPDATE strangle_backfill_control SET heard_at = clock_timestamp() WHERE context = %s", [self._stream]
        )
        now = time.monotonic()
        self._seen.append((now, now - began))
        while self._seen[0][0] < now - LATENCY_WINDOW_SECONDS:
            self._seen.popleft()
        ordered = sorted(seconds for _, seconds in self._seen)
        p99 = ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)]
        return f"a write takes {p99:.2f} s (p99, limit {self._limit:g} s)" if p99 > self._limit else None


class Backends:
    """How many sessions work, or wait for a lock, beside our own."""

    def __init__(self, conn: Connection, name: str, *, active: int | None, waiting: int | None) -> None:
        self._conn, self._name, self._active, self._waiting = conn, name, active, waiting

    def look(self) -> str | None:
        """See Probe; waits for locks are counted in pg_locks, which everybody may read, and of this database alone."""
        row = self._conn.execute(
            """SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
                         AND application_name NOT LIKE 'strangle:%'),
                      (SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
                       WHERE NOT granted AND datname = current_database())"""
        ).fetchone()
        active, waiting = row if row else (0, 0)
        if self._active is not None and active > self._active:
            return f"{active} backends are active on the {self._name} (limit {self._active})"
        if self._waiting is not None and waiting > self._waiting:
            return f"{waiting} sessions wait for locks on the {self._name} (limit {self._waiting})"
        return None


class ReplicaLag:
    """The standby furthest behind. A standby that hangs reports nothing, so its silence counts while it is behind.

    One that has hung since it connected has reported nothing ever; a base backup, which never does, is none.
    """

    def __init__(self, conn: Connection, name: str, limit: float) -> None:
        self._conn, self._name, self._limit = conn, name, limit

    def look(self) -> str | None:
        """See Probe."""
        row = self._conn.execute(
            """SELECT application_name, GREATEST(extract(epoch FROM GREATEST(write_lag, flush_lag, replay_lag)),
                   CASE WHEN COALESCE(COALESCE(replay_lsn, flush_lsn, write_lsn) < pg_current_wal_lsn(), true)
                        THEN extract(epoch FROM clock_timestamp() - COALESCE(reply_time, backend_start))
                        ELSE 0 END)::float8 AS behind
               FROM pg_stat_replication WHERE state <> 'backup' ORDER BY behind DESC LIMIT 1"""
        ).fetchone()
        if row is None or row[1] <= self._limit:
            return None
        return f"replica {row[0]!r} of the {self._name} is {row[1]:.1f} s behind (limit {self._limit:g} s)"


class WalKept:
    """What the furthest replication slot keeps of the log: it fills the disk when its reader is away."""

    def __init__(self, conn: Connection, name: str, limit: int) -> None:
        self._conn, self._name, self._limit = conn, name, limit

    def look(self) -> str | None:
        """See Probe."""
        row = self._conn.execute(
            """SELECT slot_name::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8 AS kept
               FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY kept DESC LIMIT 1"""
        ).fetchone()
        if row is None or row[1] <= self._limit:
            return None
        kept, limit = row[1] / 1e6, self._limit / 1e6
        return f"slot {row[0]!r} of the {self._name} keeps {kept:,.0f} MB of WAL (limit {limit:,.0f} MB)"


class ErrorRate:
    """Deadlocks and rollbacks a second, from the counters of pg_stat_database."""

    def __init__(self, conn: Connection, name: str, *, deadlocks: float | None, rollbacks: float | None) -> None:
        self._conn, self._name = conn, name
        self._limits = (("deadlocks", deadlocks), ("rollbacks", rollbacks))
        self._seen: deque[tuple[float, tuple[int, int]]] = deque()

    def look(self) -> str | None:
        """See Probe."""
        row = self._conn.execute(
            "SELECT deadlocks, xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        now = time.monotonic()
        counts = (int(row[0]), int(row[1])) if row else (0, 0)
        self._seen.append((now, counts))
        while len(self._seen) > 2 and self._seen[1][0] < now - RATE_WINDOW_SECONDS:
            self._seen.popleft()
        then, before = self._seen[0]
        # Two looks may be close together: a second is the least that a rate is taken over.
        seconds = max(now - then, RATE_WINDOW_SECONDS)
        for place, (name, limit) in enumerate(self._limits):
            rate = (counts[place] - before[place]) / seconds
            if limit is not None and rate > limit:
                return f"{rate:.1f} {name} a second on the {self._name} (limit {limit:g})"
        return None


class Schedule:
    """The hours in which copying is allowed."""

    def __init__(self, limits: Limits, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._limits, self._now = limits, now

    def look(self) -> str | None:
        """See Probe."""
        if may_run_at(self._limits, self._now()):
            return None
        return f"outside the hours {self._limits.HOURS} ({self._limits.TIME_ZONE})"


def make_probes(
    limits: Limits, *, stream: str, source: Connection, target: Connection, sender: Connection, lag_seconds: float
) -> list[Probe]:
    """The probes that have a limit, the relay's first; `source` is the monolith, `sender` where the rows come from.

    Raises:
        SettingsError: the operator's role may not see what a limit is about.
    """
    probes: list[Probe] = [
        Schedule(limits),
        Lag(sender, stream, limits.LAG_SECONDS if limits.LAG_SECONDS is not None else lag_seconds),
    ]
    if limits.WRITE_P99_SECONDS is not None:
        probes.append(WriteLatency(source, stream, limits.WRITE_P99_SECONDS))
    for conn, name in ((source, "monolith"), (target, "service")):
        if limits.ACTIVE_BACKENDS is not None or limits.REPLICA_LAG_SECONDS is not None:
            _refuse_blindness(conn, name)
        if limits.ACTIVE_BACKENDS is not None or limits.LOCK_WAITERS is not None:
            probes.append(Backends(conn, name, active=limits.ACTIVE_BACKENDS, waiting=limits.LOCK_WAITERS))
        if limits.REPLICA_LAG_SECONDS is not None:
            probes.append(ReplicaLag(conn, name, limits.REPLICA_LAG_SECONDS))
        if limits.WAL_KEPT_BYTES is not None:
            probes.append(WalKept(conn, name, limits.WAL_KEPT_BYTES))
        if limits.DEADLOCKS_PER_SECOND is not None or limits.ROLLBACKS_PER_SECOND is not None:
            probes.append(
                ErrorRate(conn, name, deadlocks=limits.DEADLOCKS_PER_SECOND, rollbacks=limits.ROLLBACKS_PER_SECOND)
            )
    return probes


def _refuse_blindness(conn: Connection, name: str) -> None:
    """Without the role PostgreSQL shows other sessions' rows empty, and the probe would never speak."""
    row = conn.execute("SELECT pg_has_role('pg_read_all_stats', 'USAGE'), current_user::text").fetchone()
    if row is not None and not row[0]:
        raise SettingsError(
            f"THROTTLE limits active backends or replica lag, which role {row[1]!r} may not see on the {name}; "
            f"run GRANT pg_read_all_stats TO {row[1]} there, or take ACTIVE_BACKENDS and REPLICA_LAG_SECONDS out"
        )
