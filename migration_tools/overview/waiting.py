"""What waits for somebody in one database, redacted: parked events, what became of others, open sagas and their log."""

import json
from dataclasses import asdict
from typing import Any

from migration_tools.conf import settings
from migration_tools.messaging.groups import SEPARATOR, group_of
from migration_tools.messaging.redaction import hidden
from migration_tools.overview.chain import Place
from migration_tools.overview.looking import rows
from migration_tools.sagas import reading

SHOWN = 50
LOG_SHOWN = 12

_LETTERS = """SELECT stream, position, aggregate_type, aggregate_id, envelope::text, reason, attempts, parked_at
    FROM strangle_dead_letter WHERE %s IN ('', split_part(stream, %s, 1)) ORDER BY stream, position LIMIT %s"""
_ENDED = """SELECT stream, position, event_type, outcome, actor, reason, at
    FROM strangle_dead_letter_log WHERE %s IN ('', split_part(stream, %s, 1)) ORDER BY id DESC LIMIT %s"""


def read_waiting(conn: Any, place: Place, name: str) -> dict[str, Any]:
    """All that waits in a service's database; `commands` says whether its manage.py can be asked, by `name`."""
    return {
        "place": place.name,
        "commands": bool(settings().SERVICE_COMMANDS.get(name)),
        "letters": read_letters(conn),
        "ended": read_ended(conn),
        "sagas": read_sagas(conn, place.alias),
    }


def read_letters(conn: Any, stream: str = "") -> list[dict[str, Any]]:
    """Parked events of a database, or of one stream; payloads by their shape."""
    found = []
    for inbox, position, kind, key, envelope, reason, attempts, at in rows(conn, _LETTERS, [stream, SEPARATOR, SHOWN]):
        of, group = group_of(inbox)
        event = json.loads(envelope)
        found.append(
            {
                "stream": of,
                "group": group,
                "position": position,
                "key": f"{kind}/{key}",
                "event_id": event.get("eventId", ""),
                "type": event.get("eventType", ""),
                "version": event.get("eventVersion"),
                "reason": reason,
                "attempts": attempts,
                "at": at.isoformat(),
                "shape": hidden(event.get("payload", {})),
                "correlation": event.get("correlationId") or "",
            }
        )
    return found


def read_ended(conn: Any, stream: str = "") -> list[dict[str, Any]]:
    """What became of parked events, the newest first."""
    names = ("stream", "position", "type", "outcome", "actor", "reason", "at")
    found = [dict(zip(names, row, strict=True)) for row in rows(conn, _ENDED, [stream, SEPARATOR, SHOWN])]
    return [{**each, "at": each["at"].isoformat()} for each in found]


def read_sagas(conn: Any, alias: str, context: str = "") -> list[dict[str, Any]] | None:
    """Open sagas that a database orchestrates, or of one context, those that need somebody first; None: it has none."""
    if not rows(conn, "SELECT to_regclass('saga_state') IS NOT NULL")[0][0]:
        return None
    found = sorted(reading.overviews(alias, context=context, limit=SHOWN * 4), key=lambda each: not each.why)
    return [{"saga": asdict(each), "log": reading.log_of(alias, each.saga_id)[-LOG_SHOWN:]} for each in found[:SHOWN]]
