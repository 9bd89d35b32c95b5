"""Tell whether triggers and their functions still are what was made: the server's own words then and now."""

import hashlib
from collections.abc import Iterator, Mapping

from migration_tools.capture.declaration import TableSpec
from migration_tools.capture.triggers import function_names
from migration_tools.stores.postgres import Connection, sql

_MADE = """
    SELECT t.tgname::text, t.tgenabled::text, pg_get_triggerdef(t.oid), coalesce(pg_get_functiondef(p.oid), ''),
           pg_get_userbyid(p.proowner)::text
    FROM pg_trigger t LEFT JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(%s) AND t.tgname = ANY (%s) AND NOT t.tgisinternal"""


def describe_made(conn: Connection, table: TableSpec) -> dict[str, dict[str, str]]:
    """By trigger: is it switched on always, its definition, its function's text, and whose that is."""
    names = list(function_names(table).values())
    rows = conn.execute(_MADE, [sql.Identifier(table.table).as_string(), names]).fetchall()
    return {
        row[0]: {"enabled": row[1], "definition": _hash(row[2]), "function": _hash(row[3]), "owner": row[4]}
        for row in rows
    }


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
