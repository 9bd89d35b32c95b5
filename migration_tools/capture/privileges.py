"""Close the toolkit's tables to application roles: they publish, confirm and ask, nothing more."""

from typing import Any

from django.db import connections

# What a role that owns nothing may do beside reading.
ALLOWED = {
    "strangle_outbox": "INSERT",
    "strangle_consumer": "INSERT, UPDATE",
    "strangle_command": "INSERT",
    "strangle_command_taken": "INSERT, UPDATE",
    "strangle_event": "INSERT",
    "strangle_snapshot": "INSERT, UPDATE, DELETE",
    "strangle_request": "INSERT",  # the runner believes its signature, not that it is there
}
# What it may not even read: the token by which the apply path's marks in the log are believed.
SECRET = {"strangle_log_source"}


def close_tables(sender: Any, using: str = "default", **options: Any) -> None:
    """After migrate: revoke from every role but the tables' owner what ALLOWED does not name."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT t.table_name, t.grantee FROM information_schema.table_privileges t
               JOIN pg_tables p ON p.schemaname = t.table_schema AND p.tablename = t.table_name
               WHERE t.table_schema = current_schema() AND t.table_name LIKE 'strangle\\_%%'
                 AND t.grantee <> p.tableowner AND (t.privilege_type <> 'SELECT' OR t.table_name = ANY (%s))""",
            [list(SECRET)],
        )
        for table, role in cursor.fetchall():
            grantee = "PUBLIC" if role == "PUBLIC" else quote(role)
            cursor.execute(f"REVOKE ALL ON {quote(table)} FROM {grantee}")
            allowed = ALLOWED.get(table)
            if table in SECRET:
                continue
            cursor.execute(f"GRANT SELECT{', ' + allowed if allowed else ''} ON {quote(table)} TO {grantee}")
