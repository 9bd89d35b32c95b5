"""How many writes a context's fence has refused in a database: a sequence, which no rollback takes back."""

from collections.abc import Callable

from migration_tools.stores.postgres import Connection, sql
from migration_tools.stores.postgres.ddl import with_short_locks
from migration_tools.stores.postgres.names import fitting

_PREFIX = "strangle_refused_"


def counter_of(context: str) -> str:
    """Name of the sequence that a context's fences draw from."""
    return fitting(f"{_PREFIX}{context}")


def has_counter(conn: Connection, context: str) -> bool:
    """Whether fences of the context can count here; without it they refuse all the same."""
    there = "SELECT FROM pg_sequences WHERE schemaname = current_schema() AND sequencename = %s"
    return conn.execute(there, [counter_of(context)]).fetchone() is not None


def make_counter(conn: Connection, context: str) -> None:
    """Let fences count, before the first one is made; readable by everybody, as what the fence believes is.

    It belongs to the owner of the toolkit's tables, so that whoever of its members makes a fence anew can let it count.
    """
    if has_counter(conn, context):
        return
    row = conn.execute("SELECT relowner::regrole::text FROM pg_class WHERE oid = 'strangle_ownership'::regclass")
    (owner,) = row.fetchone() or ("CURRENT_USER",)
    counter = sql.Identifier(counter_of(context))
    conn.execute(sql.SQL("CREATE SEQUENCE {}").format(counter))
    conn.execute(sql.SQL("ALTER SEQUENCE {} OWNER TO {}").format(counter, sql.SQL(owner)))
    conn.execute(sql.SQL("GRANT SELECT ON SEQUENCE {} TO PUBLIC").format(counter))


def drop_counter(conn: Connection, context: str, wait: Callable[[float], None]) -> None:
    """After the context's last fence is gone; safe to repeat. A dump under way keeps it for a while."""
    statement = sql.SQL("DROP SEQUENCE IF EXISTS {}").format(sql.Identifier(counter_of(context)))
    with_short_locks(conn, [], lambda: conn.execute(statement), wait)


def refusals(conn: Connection, context: str) -> int:
    """Writes of this context that this database's fences have refused so far; 0 where none is installed."""
    return all_refusals(conn, [context]).get(context, 0)


def all_refusals(conn: Connection, contexts: list[str] | None = None) -> dict[str, int]:
    """The same of each context that has fences here, or of those that are named."""
    if contexts is None:
        contexts = [str(row[0]) for row in conn.execute("SELECT context FROM strangle_ownership ORDER BY 1").fetchall()]
    counters = {counter_of(context): context for context in contexts}
    rows = conn.execute(
        """SELECT sequencename::text, coalesce(last_value, 0) FROM pg_sequences
           WHERE schemaname = current_schema() AND sequencename = ANY (%s)""",
        [list(counters)],
    ).fetchall()
    return {counters[str(name)]: int(count) for name, count in rows}
