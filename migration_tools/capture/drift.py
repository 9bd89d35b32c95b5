"""Tell whether triggers and their functions still are what was made: the server's own words then and now."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from migration_tools.capture.declaration import Status
from migration_tools.stores.postgres import Connection, sql

_MADE = """
    SELECT t.tgname::text, t.tgenabled::text, pg_get_triggerdef(t.oid), coalesce(pg_get_functiondef(p.oid), ''),
           pg_get_userbyid(p.proowner)::text
    FROM pg_trigger t LEFT JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(%s) AND t.tgname = ANY (%s) AND NOT t.tgisinternal"""


def describe_made(conn: Connection, table: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """By trigger: is it switched on always, its definition, its function's text, and whose that is."""
    rows = conn.execute(_MADE, [sql.Identifier(table).as_string(), list(names)]).fetchall()
    return {
        row[0]: {"enabled": row[1], "definition": _hash(row[2]), "function": _hash(row[3]), "owner": row[4]}
        for row in rows
    }


def compare_made(conn: Connection, stream: str) -> dict[str, tuple[Status, str]]:
    """By captured table: does it still hold what was made there, and what not; knows no playbook."""
    rows = conn.execute(
        "SELECT table_name, made FROM strangle_captured_table WHERE stream = %s ORDER BY table_name", [stream]
    ).fetchall()
    return {row[0]: compare_table(conn, row[0], row[1]) for row in rows}


def compare_table(conn: Connection, table: str, made: Mapping[str, Mapping[str, str]]) -> tuple[Status, str]:
    """The same of one table, given what was made."""
    found = describe_made(conn, table, made)
    if made and not found:
        return Status.MISSING, "every trigger was dropped"
    detail = "; ".join(drift(made, found))
    return (Status.DRIFTED if detail else Status.INSTALLED), detail


def drift(made: Mapping[str, Mapping[str, str]], found: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What somebody has changed since, in sentences."""
    for name, then in sorted(made.items()):
        now = found.get(name)
        if now is None:
            yield f"trigger {name} was dropped"
            continue
        if now["enabled"] != then["enabled"]:
            yield f"trigger {name} is {_ENABLED.get(now['enabled'], now['enabled'])}"
        if now["owner"] != then["owner"]:
            yield f"function {name} belongs to {now['owner']}, not to {then['owner']}"
        if now["definition"] != then["definition"]:
            yield f"trigger {name} was redefined"
        if now["function"] != then["function"]:
            yield f"function {name} was edited"


_ENABLED = {"D": "disabled", "O": "not ENABLE ALWAYS any more", "R": "enabled for replicas alone"}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
