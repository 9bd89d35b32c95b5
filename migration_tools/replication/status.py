"""How old what is kept is: the last event of each copy, the last answer to each poll, commands on their way."""

from typing import Any, LiteralString

from django.db import connections

from migration_tools.conf import settings
from migration_tools.replication.declaration import copies
from migration_tools.replication.polling import polls

_COPIES: LiteralString = """
    SELECT copy, count(*), extract(epoch FROM now() - max(applied_at))::float8 FROM strangle_copied GROUP BY copy"""
_POLLS: LiteralString = """
    SELECT name, extract(epoch FROM now() - answered_at)::float8, failures FROM strangle_poll"""
_COMMANDS: LiteralString = """
    SELECT count(*) FILTER (WHERE state = 'w'), count(*) FILTER (WHERE state = 'x'),
        coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE state = 'w')), 0)::float8
    FROM strangle_command"""


def status() -> dict[str, Any]:
    """What there is; ages in seconds, None where nothing was ever heard."""
    with connections[settings().DATABASE].cursor() as cursor:
        cursor.execute(_COPIES)
        applied = {name: (rows, age) for name, rows, age in cursor.fetchall()}
        cursor.execute(_POLLS)
        answered = {name: (age, failures) for name, age, failures in cursor.fetchall()}
        cursor.execute(_COMMANDS)
        waiting, dead, oldest = cursor.fetchone()
    return {
        "copies": {
            name: {"stream": copy.stream, "entities": applied.get(name, (0, None))[0],
                   "last_event_seconds": applied.get(name, (0, None))[1]}
            for name, copy in copies.items()
        },
        "polls": {
            name: {"age_seconds": answered.get(name, (None, 0))[0], "failures": answered.get(name, (None, 0))[1]}
            for name in polls
        },
        "commands": {"waiting": waiting, "dead": dead, "oldest_seconds": oldest},
    }  # fmt: skip
