"""Where a context stands, gathered from both sides; a side that does not answer is said, not raised."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from migration_tools.capture.drift import compare_made
from migration_tools.capture.log_installation import retained
from migration_tools.capture.models import Side
from migration_tools.capture.ownership import read_owner
from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging import lag as lags
from migration_tools.messaging.dead_letters import count as dead_letters
from migration_tools.messaging.horizon import horizon
from migration_tools.messaging.inbox import lag_percentile
from migration_tools.messaging.stream import head
from migration_tools.phases.surroundings import DROPPED
from migration_tools.playbook.declaration import Playbook
from migration_tools.routing import publishing
from migration_tools.sagas.intake import open_sagas
from migration_tools.state.journal import read_context
from migration_tools.state.kept import is_kept
from migration_tools.state.models import JournalEntry, Verification
from migration_tools.stores.postgres import Connection, advisory, connect, errors
from migration_tools.transfer.control import read_control


def read_status(playbook: type[Playbook]) -> dict[str, Any]:
    """Phase, owner, lag, verification and routes as JSON values."""
    context = playbook.context
    row = read_context(context)
    last = Verification.objects.using(playbook.source).filter(context=context).order_by("-id").first()
    route = publishing.current().contexts.get(context)
    sides: dict[str, Any] = {}
    for side, alias in ((Side.SOURCE, playbook.source), (Side.TARGET, playbook.target)):
        with _reachable(alias, sides, side.value) as conn:
            if conn is not None:
                sides[side.value] = _read_side(conn, context)
    lag = {}
    for side in Side:
        for each in sides[side.value].get("consumers", []):
            lag[f"{side.value}:{each['consumer']}"] = {"events": each["events"], "seconds": each["seconds"]}
    return {
        "phase": row.phase,
        "since": row.since.isoformat(),
        "move": row.move,
        "removed": read_removed(context),
        "kept_copies": is_kept(context),
        "owner": sides["source"].get("owner"),
        "sides": sides,
        "lag": lag,
        "lag_ms": sides["target"].get("lag_ms", {"p50": None, "p99": None}),
        "backfill": _read_backfill(context),
        "verification": None
        if last is None
        else {
            "rows": last.rows,
            "differences": last.differences,
            "direction": last.direction,
            "at": last.at.isoformat(),
        },
        "route": None
        if route is None
        else {
            "reads_percent": route.reads_percent,
            "writes": route.writes,
            "proxies": len(publishing.live_proxies()),
        },
    }


def read_removed(context: str) -> dict[str, str] | None:
    """When the old tables were dropped and where their final dump is; None while they are there."""
    entry = JournalEntry.objects.using(settings().DATABASE).filter(context=context, step=DROPPED).order_by("id").last()
    return None if entry is None else {"at": entry.at.isoformat(), "directory": str(entry.evidence["directory"])}


def _read_backfill(context: str) -> dict[str, str]:
    control = read_control(context)
    return {
        "wish": control.wish.value,
        "reason": control.reason,
        "actor": control.actor,
        "holding": control.holding,
    }


def _read_side(conn: Connection, context: str) -> dict[str, Any]:
    owner = read_owner(conn, context)
    waiting = lags.unnumbered(conn, context)
    oldest = horizon(conn)
    inbox = conn.execute(
        "SELECT position, rows_position, applied_records, lag_histogram, standstill FROM strangle_inbox"
        " WHERE stream = %s",
        [context],
    ).fetchone()
    histogram = inbox[3] if inbox else []
    sagas = open_sagas(conn, context)
    return {
        "owner": owner.owner.value if owner else None,
        "epoch": owner.epoch if owner else None,
        "head": head(conn.cursor(), context),
        "log": retained(conn, context),
        "capture": [
            {"table": table, "status": status.value, "detail": detail}
            for table, (status, detail) in compare_made(conn, context).items()
        ],
        "unnumbered": {"rows": waiting.rows, "seconds": round(waiting.seconds, 3)},
        "oldest_transaction": None if oldest is None else oldest.to_json(),
        "consumers": [
            {
                "consumer": each.consumer,
                "position": each.position,
                "events": each.events,
                "seconds": round(each.seconds, 3),
                "silent_seconds": round(each.silent_seconds, 3),
            }
            for each in lags.consumers(conn, context, replicas=True)
        ],
        "transports": [
            {
                "transport": each.transport,
                "position": each.position,
                "events": each.events,
                "confirmed_seconds": round(each.confirmed_seconds, 3),
            }
            for each in lags.published(conn, context)
        ],
        "relay": advisory.holder(conn, LockClass.RELAY, context),
        "inbox": None
        if inbox is None
        else {
            "position": inbox[0],
            "rows_position": inbox[1],
            "applied_records": inbox[2],
            "standstill": inbox[4],
        },
        "lag_ms": {"p50": _rounded(lag_percentile(histogram, 0.5)), "p99": _rounded(lag_percentile(histogram, 0.99))},
        "dead_letters": dead_letters(conn, context),
        "sagas": None if sagas is None else asdict(sagas),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


@contextmanager
def _reachable(alias: str, sides: dict[str, Any], name: str) -> Iterator[Connection | None]:
    try:
        conn = connect(alias, "status")
    except StrangleError as error:
        sides[name] = {"unreachable": str(error)}
        yield None
        return
    try:
        with conn:
            yield conn
    except errors.UndefinedTable:
        missing = f"database {alias!r} has no tables of the toolkit; run the schema migrations of its side"
        sides[name] = {"unreachable": missing}
