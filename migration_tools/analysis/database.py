"""What the database itself knows: sizes, reads and writes of tables, the statements that it ran and its routines."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migration_tools.analysis.report import Size
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
_ROUTINES = """
SELECT p.proname, coalesce(nullif(p.prosrc, ''), pg_get_function_sqlbody(p.oid), '')
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE l.lanname IN ('sql', 'plpgsql') AND n.nspname = ANY (current_schemas(false))
    AND p.prorettype <> 'trigger'::regtype AND p.proname !~ '^strangle'
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
    """One reading; `seconds` is how long the counters had been counting, or the time since another reading.

    `statements` are (text, calls, roles) of pg_stat_statements, `routines` the bodies of functions that those may call.
    """

    at: float = 0.0
    seconds: float = 0.0
    tables: Mapping[str, TableFacts] = field(default_factory=dict)
    statements: tuple[tuple[str, int, str], ...] | None = None
    routines: Mapping[str, str] = field(default_factory=dict)

    def rate(self, table: str) -> float:
        """Rows written a second."""
        facts = self.tables.get(table)
        return facts.written / self.seconds if facts is not None and self.seconds > 0 else 0.0

    def size(self, tables: Iterable[str]) -> Size:
        """All of some tables."""
        known = [table for table in tables if table in self.tables]
        return Size(
            rows=sum(self.tables[table].rows for table in known),
            bytes=sum(self.tables[table].bytes for table in known),
            writes_per_second=round(sum(map(self.rate, known)), 6),
        )


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
    routines = {}
    if conn.execute("SELECT to_regclass('pg_stat_statements') IS NOT NULL").fetchone() == (True,):
        statements = tuple((str(query), int(calls), str(roles)) for query, calls, _, roles in conn.execute(_STATEMENTS))
        routines = {str(name): str(body) for name, body in conn.execute(_ROUTINES)}
    return DatabaseFacts(at=now, seconds=max(now - since, 0.0), tables=tables, statements=statements, routines=routines)


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
        routines=facts.routines,
    )


def has_relayed(conn: Connection) -> bool:
    """Whether a relay has ever numbered anything here: then events are carried already."""
    there = conn.execute("SELECT to_regclass('strangle_tick') IS NOT NULL").fetchone()
    return there == (True,) and conn.execute("SELECT EXISTS (SELECT FROM strangle_tick)").fetchone() == (True,)
