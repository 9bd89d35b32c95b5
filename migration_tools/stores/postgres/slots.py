"""Publications and logical replication slots through SQL: make, look at, peek, advance, drop."""

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from migration_tools.stores.postgres.connection import Connection, sql, transaction
from migration_tools.stores.postgres.pgoutput import Entry, lsn_number, lsn_text, read_entries

FETCH_ROWS = 5_000
# From this version on a message can ask to be flushed itself.
FLUSHING_MESSAGES = 170_000
STANDBY_SNAPSHOTS = 160_000
FLUSH = "strangle.flush"


@dataclass(frozen=True, kw_only=True)
class SlotState:
    """A slot as the server sees it; `retained` are the bytes of log it keeps, `lost` says that some are gone.

    `reread` are the bytes before `confirmed` that every peek has to read again.
    """

    confirmed: int
    reread: int
    retained: int
    lost: bool
    active: bool
    limit: int | None


def log_level(conn: Connection) -> str:
    """What the server's log is written for: minimal, replica or logical."""
    row = conn.execute("SELECT current_setting('wal_level')").fetchone()
    return str(row[0]) if row else ""


def slot_name(conn: Connection, purpose: str) -> str:
    """A name of this database's own, since slots are named across the cluster and may not hold all characters."""
    row = conn.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
    plain = "".join(c if c.isascii() and (c.islower() or c.isdigit()) else "_" for c in purpose.lower())
    return f"strangle_{plain[:40]}_{row[0] if row else 0}"


def create_slot(conn: Connection, name: str, *, timeout_seconds: float) -> int:
    """Make a slot and return where it begins; waits for every transaction of the cluster that runs now.

    Every transaction that commits later is in it, whole; what committed before is visible to every later snapshot.

    Raises:
        errors.QueryCanceled: one of them did not end in time; no slot was made.
    """
    with _statement_timeout(conn, timeout_seconds):
        row = conn.execute(
            "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, 'pgoutput')", [name]
        ).fetchone()
    return lsn_number(str(row[0])) if row else 0


def drop_slot(conn: Connection, name: str) -> None:
    """Drop the slot if it is there; nobody may be reading it."""
    conn.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", [name])


def read_slot(conn: Connection, name: str) -> SlotState | None:
    """Look at a slot of this database; None when it is not there."""
    row = conn.execute(
        """SELECT COALESCE(confirmed_flush_lsn, '0/0')::text,
                  COALESCE(pg_wal_lsn_diff(confirmed_flush_lsn, restart_lsn), 0)::bigint,
                  COALESCE(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint,
                  wal_status IS NOT DISTINCT FROM 'lost', active, safe_wal_size
           FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()
             AND slot_type = 'logical'""",
        [name],
    ).fetchone()
    if row is None:
        return None
    return SlotState(
        confirmed=lsn_number(row[0]), reread=row[1], retained=row[2], lost=row[3], active=row[4], limit=row[5]
    )


def advance_slot(conn: Connection, name: str, upto: int) -> None:
    """Let the server forget the log before a position; never goes back, is not undone by a rollback."""
    conn.execute("SELECT pg_replication_slot_advance(%s, %s::pg_lsn)", [name, lsn_text(upto)])


def note_transactions(conn: Connection) -> None:
    """Have the server write down who runs, if this role may: from there on decoders need nothing older.

    The server does so by itself every 15 s; until then each peek reads again what was written since.
    """
    if conn.info.server_version < STANDBY_SNAPSHOTS:
        return
    allowed = conn.execute("SELECT has_function_privilege('pg_log_standby_snapshot()', 'EXECUTE')").fetchone()
    if allowed and allowed[0]:
        conn.execute("SELECT pg_log_standby_snapshot()")


def peek(conn: Connection, name: str, publication: str, *, upto: int | None = None) -> Iterator[Entry]:
    """Read what the slot holds without taking it, every commit that begins before `upto`; inside a transaction."""
    cursor = conn.cursor(name="strangle_log")
    with closing(cursor):
        cursor.itersize = FETCH_ROWS
        cursor.execute(
            """SELECT lsn::text, data FROM pg_logical_slot_peek_binary_changes(%s, %s::pg_lsn, NULL,
                   'proto_version', '1', 'publication_names', %s, 'messages', 'true')""",
            [name, None if upto is None else lsn_text(upto), f'"{publication}"'],
            binary=True,
        )
        yield from read_entries(cursor)


def log_end(conn: Connection) -> int:
    """Where the next record will be written."""
    row = conn.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    return lsn_number(str(row[0])) if row else 0


def flush_log(conn: Connection) -> int:
    """Bring all that is visible by now into the part of the log that can be decoded; returns a position behind it.

    With synchronous_commit off a commit is visible before it is flushed, and only what is flushed is decoded. A
    message is written behind all of it and flushed: by itself, or on older servers by a commit on another connection.
    """
    if conn.info.server_version >= FLUSHING_MESSAGES:
        row = conn.execute("SELECT pg_logical_emit_message(false, %s, '', true)::text", [FLUSH]).fetchone()
    else:
        row = _second(conn).execute("SELECT pg_logical_emit_message(true, %s, '')::text", [FLUSH]).fetchone()
    return lsn_number(str(row[0])) if row else 0


def set_publication(conn: Connection, name: str, tables: Iterable[str]) -> None:
    """Make the publication hold exactly these tables, partitions under their root."""
    listed = sql.SQL(", ").join(sql.Identifier(table) for table in tables)
    values = {"name": sql.Identifier(name), "tables": listed}
    with transaction(conn):
        if conn.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", [name]).fetchone():
            conn.execute(sql.SQL("ALTER PUBLICATION {name} SET TABLE {tables}").format(**values))
        else:
            conn.execute(
                sql.SQL("CREATE PUBLICATION {name} FOR TABLE {tables} WITH (publish_via_partition_root = true)").format(
                    **values
                )
            )


def published_tables(conn: Connection, name: str) -> list[str]:
    """The tables of a publication; none when it is not there."""
    rows = conn.execute("SELECT tablename FROM pg_publication_tables WHERE pubname = %s ORDER BY 1", [name])
    return [str(row[0]) for row in rows]


def make_publication(conn: Connection, name: str, tables: Iterable[str]) -> None:
    """Publish these tables of any schema, given as schema.table, once and for all."""
    listed = sql.SQL(", ").join(sql.Identifier(*table.split(".", 1)) for table in tables)
    conn.execute(sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(sql.Identifier(name), listed))


def drop_publication(conn: Connection, name: str) -> None:
    """Drop the publication if it is there."""
    conn.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))


def identities(conn: Connection, table: str) -> dict[str, frozenset[str]]:
    """Per table that keeps rows (itself, or its partitions): the columns by which the log knows an old row."""
    rows = conn.execute(
        """SELECT c.relname::text, array_remove(array_agg(a.attname::text), NULL) FROM pg_class c
           LEFT JOIN pg_index i ON i.indrelid = c.oid
             AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
           LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             AND (c.relreplident = 'f' OR a.attnum = ANY (i.indkey::int2[]))
           WHERE c.relkind = 'r' AND (c.oid = to_regclass(%s) OR c.oid IN (SELECT relid FROM
             pg_partition_tree(to_regclass(%s)))) GROUP BY c.relname""",
        [f'"{table}"', f'"{table}"'],
    ).fetchall()
    return {row[0]: frozenset(row[1]) for row in rows}


def recasts(conn: Connection, table: str, columns: Sequence[str]) -> dict[str, str]:
    """Columns whose cast to text is not what the log writes (boolean, char(n), inet …), with their type."""
    rows = conn.execute(
        """WITH RECURSIVE types AS (
               SELECT attname, atttypid AS oid FROM pg_attribute
               WHERE attrelid = to_regclass(%s) AND attname = ANY (%s)
             UNION ALL
               SELECT d.attname, t.typbasetype FROM types d JOIN pg_type t ON t.oid = d.oid WHERE t.typtype = 'd')
           SELECT d.attname::text, format_type(d.oid, NULL) FROM types d
           WHERE EXISTS (SELECT FROM pg_cast c WHERE c.castsource = d.oid AND c.casttarget = 'text'::regtype
                         AND c.castmethod = 'f')""",
        [f'"{table}"', list(columns)],
    ).fetchall()
    return {row[0]: row[1] for row in rows}


@contextmanager
def _statement_timeout(conn: Connection, seconds: float) -> Iterator[None]:
    conn.execute("SELECT set_config('statement_timeout', %s, false)", [f"{int(seconds * 1000)}ms"])
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("SELECT set_config('statement_timeout', '0', false)")


_seconds: "weakref.WeakKeyDictionary[Connection, Connection]" = weakref.WeakKeyDictionary()


def _second(conn: Connection) -> Connection:
    """A connection beside this one, as the same role, whose commits are flushed."""
    known = _seconds.get(conn)
    if known is None or known.closed:
        address = make_conninfo(**{**conn.info.get_parameters(), "password": conn.info.password})
        known = psycopg.connect(address, autocommit=True)
        known.execute("SET synchronous_commit = local")
        _seconds[conn] = known
        weakref.finalize(conn, known.close)
    return known
