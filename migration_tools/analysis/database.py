"""What the database itself knows: sizes, reads and writes of tables, and the statements that no trace saw."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Finding
from migration_tools.analysis.statements import fingerprint, is_control, parse, shape_of
from migration_tools.analysis.trace import Trace
from migration_tools.analysis.traced import touched
from migration_tools.errors import AnalysisError
from migration_tools.stores.postgres import Connection

_TABLES = """
SELECT s.relname, greatest(c.reltuples, 0)::bigint, s.n_live_tup, pg_total_relation_size(s.relid),
       coalesce(s.seq_scan, 0) + coalesce(s.idx_scan, 0), s.n_tup_ins, s.n_tup_upd, s.n_tup_del
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE s.schemaname = ANY (current_schemas(false))
"""
_CLOCK = """
SELECT extract(epoch FROM clock_timestamp()), extract(epoch FROM coalesce(
    (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()), pg_postmaster_start_time()))
"""
_STATEMENTS = """
SELECT query, sum(calls)::bigint, sum(rows)::bigint, string_agg(DISTINCT pg_get_userbyid(userid), ', ')
FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY query
"""

_SHARES = """
SELECT v.value, f.share FROM pg_stats s,
    unnest(s.most_common_vals::text::text[]) WITH ORDINALITY v (value, place)
    JOIN LATERAL unnest(s.most_common_freqs) WITH ORDINALITY f (share, place) USING (place)
WHERE s.schemaname = ANY (current_schemas(false)) AND s.tablename = %s AND s.attname = %s ORDER BY 2 DESC, 1
"""


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """Counters as PostgreSQL keeps them, since `since`; `rows` is its estimate."""

    rows: int = 0
    bytes: int = 0
    scans: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def written(self) -> int:
        """Rows written."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True, kw_only=True)
class DatabaseFacts:
    """One reading; `seconds` is how long the counters had been counting, or the time since another reading."""

    at: float = 0.0
    seconds: float = 0.0
    tables: Mapping[str, TableFacts] = field(default_factory=dict)
    statements: tuple[tuple[str, int, str], ...] | None = None

    def rate(self, table: str) -> float:
        """Rows written a second."""
        facts = self.tables.get(table)
        return facts.written / self.seconds if facts is not None and self.seconds > 0 else 0.0


def read_facts(conn: Connection) -> DatabaseFacts:
    """Read all counters now; `statements` is None where pg_stat_statements is not installed."""
    row = conn.execute(_CLOCK).fetchone()
    now, since = (float(row[0]), float(row[1])) if row else (0.0, 0.0)
    tables = {
        str(name): TableFacts(
            rows=max(int(estimate), int(live)),
            bytes=int(size),
            scans=int(scans),
            inserted=int(inserted),
            updated=int(updated),
            deleted=int(deleted),
        )
        for name, estimate, live, size, scans, inserted, updated, deleted in conn.execute(_TABLES)
    }
    statements = None
    if conn.execute("SELECT to_regclass('pg_stat_statements') IS NOT NULL").fetchone() == (True,):
        statements = tuple((str(query), int(calls), str(roles)) for query, calls, _, roles in conn.execute(_STATEMENTS))
    return DatabaseFacts(at=now, seconds=max(now - since, 0.0), tables=tables, statements=statements)


def read_shares(conn: Connection, column: str) -> dict[str, float]:
    """How much of a table each common value of `table.column` has, as the planner's statistics know it.

    Raises:
        AnalysisError: there is no such column, or its table was never analysed.
    """
    table, _, name = column.rpartition(".")
    found = {str(value): float(share) for value, share in conn.execute(_SHARES, [table, name])}
    if not found:
        raise AnalysisError(
            f"PostgreSQL has no common values of {column!r}; name a column as table.column, and ANALYZE its table"
        )
    return found


def since(facts: DatabaseFacts, earlier: Mapping[str, Any]) -> DatabaseFacts:
    """The same with counters and time since an earlier report's; a table that is new counts from its beginning."""
    before = {each["name"]: each for each in earlier["tables"]}

    def less(name: str, now: TableFacts) -> TableFacts:
        then = before.get(name, {})
        return TableFacts(
            rows=now.rows,
            bytes=now.bytes,
            scans=max(now.scans - then.get("scans", 0), 0),
            inserted=max(now.inserted - then.get("inserted", 0), 0),
            updated=max(now.updated - then.get("updated", 0), 0),
            deleted=max(now.deleted - then.get("deleted", 0), 0),
        )

    return DatabaseFacts(
        at=facts.at,
        seconds=max(facts.at - float(earlier["measured_at"]), 0.0),
        tables={name: less(name, now) for name, now in facts.tables.items()},
        statements=facts.statements,
    )


def find_unseen(facts: DatabaseFacts, trace: Trace, contexts: ContextMap) -> Iterator[Finding]:
    """SFA206: the database ran a statement across contexts that the trace does not have; who, is said by role."""
    seen = {fingerprint(sent.shape) for sent in trace.sent.values()}
    for query, calls, roles in facts.statements or ():
        if is_control(query) and not query.lstrip().upper().startswith("CALL"):
            continue
        shape = shape_of(query)
        statement = parse(shape)
        across = touched(statement.tables, contexts)
        if len(across) < 2 or fingerprint(shape) in seen:
            continue
        home, *others = sorted(across, key=lambda name: (not set(across[name]) & statement.writes, name))
        for there in others:
            yield Finding(
                rule="SFA206",
                source=home,
                target=there,
                message=f"role {roles} sent {calls} times: {shape[:200]}",
                tables=tuple(sorted(table for tables in across.values() for table in tables)),
                weight=calls,
                detail={"shape": shape, "roles": roles, "key": shape[:80]},
            )


def has_relayed(conn: Connection) -> bool:
    """Whether a relay has ever numbered anything here: then events are carried already."""
    there = conn.execute("SELECT to_regclass('strangle_tick') IS NOT NULL").fetchone()
    return there == (True,) and conn.execute("SELECT EXISTS (SELECT FROM strangle_tick)").fetchone() == (True,)
