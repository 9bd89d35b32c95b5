"""Sagas as metrics: how many there are in each state, how many need somebody, how old the oldest open one is."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from migration_tools.messaging.metrics import Sample
from migration_tools.sagas.decisions import Status

if TYPE_CHECKING:
    from migration_tools.stores.postgres import Connection

FAMILIES = {
    "strangle_sagas": ("gauge", "Sagas that this service orchestrates, by state."),
    "strangle_sagas_stuck": ("gauge", "Open sagas that need somebody."),
    "strangle_sagas_oldest_age_seconds": ("gauge", "Age of the oldest open saga; 0 if there is none."),
}


def collect(conn: "Connection") -> Iterator[Sample]:
    """What saga_state says now; nothing before the application's tables are there."""
    there = conn.execute("SELECT to_regclass('saga_state') IS NOT NULL").fetchone()
    if there is None or not there[0]:
        return
    found: dict[str, int] = dict(conn.execute("SELECT status, count(*) FROM saga_state GROUP BY status").fetchall())
    for status in Status:
        yield Sample(name="strangle_sagas", value=found.get(status.value, 0), labels={"state": status.value})
    row = conn.execute(
        """SELECT count(*) FILTER (WHERE alarm <> '' OR alarm_at < clock_timestamp()),
                  COALESCE(EXTRACT(epoch FROM clock_timestamp() - min(created_at)), 0)::float
           FROM saga_state WHERE status IN ('running', 'compensating')"""
    ).fetchone()
    stuck, age = row if row is not None else (0, 0.0)
    yield Sample(name="strangle_sagas_stuck", value=stuck)
    yield Sample(name="strangle_sagas_oldest_age_seconds", value=age)
