"""Who still reads and writes a context's old tables: counters of the server, and sessions caught in the act."""

import datetime as dt
from typing import Any

from django.utils import timezone

from migration_tools.phases.archive import old_tables
from migration_tools.phases.surroundings import Surroundings
from migration_tools.phases.witnesses import sessions_on, uses_of

FORGET = dt.timedelta(hours=1)
KEEP = 40


def read_uses(env: Surroundings) -> list[dict[str, Any]]:
    """Scans and changed rows of each old table since the server's statistics began, our own apply path's among them."""
    found = uses_of(env.source, old_tables(env))
    return [{"table": table, "reads": reads, "writes": writes} for table, (reads, writes) in found.items()]


def read_users(env: Surroundings, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sessions that hold a lock on an old table now, added to those caught within the hour; `ours` are the toolkit's.

    A session is only seen while its transaction is open, so what is quick may be missed: the counters miss nothing.
    """
    now = timezone.now()
    caught = {
        (each["table"], each["role"], each["application"]): each
        for each in known
        if dt.datetime.fromisoformat(each["seen"]) > now - FORGET
    }
    for each in sessions_on(env.source, old_tables(env)):
        before = caught.get((each.table, each.role, each.application))
        caught[(each.table, each.role, each.application)] = {
            "table": each.table,
            "role": each.role,
            "application": each.application,
            "writes": each.writes or bool(before and before["writes"]),
            "ours": each.ours,
            "seen": now.isoformat(),
            "times": 1 + (before["times"] if before else 0),
        }
    return sorted(caught.values(), key=lambda each: each["seen"], reverse=True)[:KEEP]
