"""Tell the database who causes a write, in the same round trip, and only when something is written."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

from migration_tools.errors import StrangleError
from migration_tools.messaging.context import running

# A SELECT may write too, by a function; then what the transaction was last told holds, or nothing.
_WRITES = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*(?:insert|update|delete|merge|with|call|do)\b", re.I | re.S)

_TELL = "SELECT set_config('strangle.context', %s, true)"
_TELL_BY_NAME = "SELECT set_config('strangle.context', %(strangle_context)s, true)"


def follow_connections() -> None:
    """Stamp the writes of every PostgreSQL connection that Django opens from now on."""
    connection_created.connect(_watch, dispatch_uid="strangle_stamping")


def stamp(using: str) -> None:
    """Tell the open transaction of `using` at once; for writes that Django does not execute (COPY, a cursor of yours).

    Raises:
        StrangleError: there is no open transaction, so it would be forgotten at once.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        raise StrangleError(f"stamp({using!r}) outside a transaction; wrap it and the writes in atomic()")
    chain = running()
    _tell(connection, chain.to_json() if chain is not None else "")


def _watch(sender: Any, connection: Any, **_: Any) -> None:
    if connection.vendor == "postgresql" and _stamped not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _stamped)


def _stamped(execute: Callable[..., Any], query: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Put what is to be told before a statement that writes; see Note [context] in capture.triggers.

    The setting lasts as long as the transaction, and a savepoint that is rolled back takes it along: so each
    statement says it anew, which costs no round trip.
    """
    chain = running()
    connection = context["connection"]
    if chain is None and not getattr(connection, "strangle_told", False):
        return execute(query, params, many, context)
    if not isinstance(query, str) or _WRITES.match(query) is None:
        return execute(query, params, many, context)
    said = chain.to_json() if chain is not None else ""
    connection.strangle_told = bool(said)
    if many or _bound_by_server(connection) or getattr(context["cursor"].cursor, "name", None):
        if connection.in_atomic_block:
            _tell(connection, said)
        return execute(query, params, many, context)
    if isinstance(params, Mapping):
        result = execute(f"{_TELL_BY_NAME}; {query}", {**params, "strangle_context": said}, many, context)
    elif params is None:
        result = execute(f"{_TELL}; {query.replace('%', '%%')}", [said], many, context)
    else:
        result = execute(f"{_TELL}; {query}", [said, *params], many, context)
    cursor = context["cursor"].cursor
    if _many_results(cursor):
        cursor.nextset()
    return result


def _tell(connection: Any, said: str) -> None:
    with connection.connection.cursor() as cursor:
        cursor.execute(_TELL, [said])


def _bound_by_server(connection: Any) -> bool:
    """Whether parameters are sent apart from the statement, which then must be a single one."""
    return bool(connection.settings_dict.get("OPTIONS", {}).get("server_side_binding"))


def _many_results(cursor: Any) -> bool:
    """psycopg 3 stands at the first statement's result, psycopg 2 at the last one's."""
    return not type(cursor).__module__.startswith("psycopg2")
