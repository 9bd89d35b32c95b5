"""Who uses old tables: the counters of the server, sessions caught in the act, statements by role, refused writes.

None of them alone is enough; see Note [three witnesses] in phases.quiet.
"""

from dataclasses import dataclass
from typing import Any

from migration_tools.messaging.horizon import OURS
from migration_tools.stores.postgres import Connection

# Ours say so by their names, which are believed of those alone who may bear the apply path's marks: members of the role
# that owns the toolkit's tables. Autovacuum, which has no role, uses nothing.
_OURS = f"starts_with(a.application_name, '{OURS}') AND pg_has_role(a.usename, t.tableowner, 'MEMBER')"
# Partitions have scans, changes and locks of their own, which are those of the table.
_TREE = """
    WITH RECURSIVE tree AS (
      SELECT c.relname::text AS name, c.oid FROM pg_class c WHERE c.relname = ANY (%s) AND c.relkind IN ('r', 'p')
      UNION SELECT tree.name, i.inhrelid FROM pg_inherits i JOIN tree ON tree.oid = i.inhparent)"""
_USES = f"""{_TREE}
    SELECT name, sum(COALESCE(seq_scan, 0) + COALESCE(idx_scan, 0))::bigint,
           sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint
    FROM pg_stat_user_tables JOIN tree ON oid = relid GROUP BY name"""  # noqa: S608  (constants of this file)
_SESSIONS = f"""{_TREE}
    SELECT c.name, a.usename::text, a.application_name,
           bool_or(l.mode = 'RowExclusiveLock'), bool_or(l.mode IN ('RowShareLock', 'RowExclusiveLock')),
           bool_or({_OURS})
    FROM pg_locks l JOIN tree c ON c.oid = l.relation JOIN pg_stat_activity a USING (pid)
    JOIN pg_tables t ON t.tablename = 'strangle_ownership'
    WHERE l.granted AND l.pid <> pg_backend_pid() AND a.usename IS NOT NULL
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY 1, 2, 3"""  # noqa: S608  (constants of this file)
_STATEMENTS = r"""
    SELECT r.rolname::text, regexp_replace(s.query, '\s+', ' ', 'g'), t.name, sum(s.calls)::bigint
    FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
    JOIN unnest(%s::text[]) t(name) ON s.query ~ ('\m' || t.name || '\M')
    WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.query !~ '\mpg_stat_'
    GROUP BY 1, 2, 3"""
_LAST_TRIED = rf"""
    SELECT DISTINCT a.usename::text, a.application_name FROM pg_stat_activity a
    JOIN unnest(%(tables)s::text[]) o(name)
      ON a.query ~* ('\m(insert|update|delete|merge|truncate)\M.*\m' || o.name || '\M')
    JOIN pg_tables t ON t.tablename = 'strangle_ownership'
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.query_start >= %(since)s
      AND a.usename IS NOT NULL AND NOT ({_OURS})"""  # noqa: S608  (constants of this file)


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


def uses_of(conn: Connection, tables: list[str]) -> dict[str, tuple[int, int]]:
    """Scans and changed rows of each table since the server's statistics began, its partitions' among them."""
    conn.execute("SELECT pg_stat_clear_snapshot()")
    found = {str(name): (int(reads), int(writes)) for name, reads, writes in conn.execute(_USES, [tables]).fetchall()}
    return {table: found.get(table, (0, 0)) for table in tables}


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


def statements_on(conn: Connection, tables: list[str]) -> list[list[Any]]:
    """Statements that name an old table, with the calls so far; none without the extension or the right to read it."""
    if conn.execute("SELECT to_regclass('pg_stat_statements')").fetchone() == (None,):
        return []
    return [list(row) for row in conn.execute(_STATEMENTS, [tables]).fetchall()]


def last_tried(conn: Connection, tables: list[str], since: str) -> list[str]:
    """Who wrote a table with the last statement that it began since then, or tried to: roles and applications."""
    tried = conn.execute(_LAST_TRIED, {"tables": tables, "since": since}).fetchall()
    return sorted(_named(str(role), str(application)) for role, application in tried)


def told_uses(
    tables: list[str], before: dict[str, Any], after: dict[str, Any], caught: set[Session], *, on: str = ""
) -> list[str]:
    """Each table that was used between two looks, which have `at`, `uses`, `statements`: how often, and by whom.

    `on` is the replica that was looked at.
    """
    told = []
    where = f" on the replica {on!r}" if on else ""
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
            f"table {table!r} was read or written {times} times{where} since {before['at'][:19]}, {by}; move it to the "
            f"service's API"
        )
    return told


def told_writes(caught: set[Session]) -> list[str]:
    """Who wrote the copies past the fence, or locked rows of them, while we looked."""
    return sorted(
        f"table {each.table!r} was {'written' if each.writes else 'read with row locks (SELECT … FOR UPDATE)'} by "
        f"{each}, which needs the right to write; move it to the service's API"
        for each in caught
        if each.writes or each.locks_rows
    )


def _named(role: str, application: str) -> str:
    return f"role {role!r}" + (f" ({application})" if application else "")
