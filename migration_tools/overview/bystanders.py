"""What an operator's process sees of a service that took nothing over: what waits in it, and how far it has read."""

from typing import Any

from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.messaging.groups import group_of
from migration_tools.overview.chain import Link, Place, read_latest
from migration_tools.overview.looking import looking, rows
from migration_tools.overview.observing import LATEST_SHOWN, VERSION
from migration_tools.overview.story import service
from migration_tools.overview.waiting import read_waiting
from migration_tools.state.models import Observation

_STREAMS = "SELECT stream FROM strangle_stream_identity ORDER BY stream"
_INBOXES = "SELECT stream, position, standstill FROM strangle_inbox ORDER BY stream"


def observe_bystander(name: str) -> dict[str, Any]:
    """What its database holds, as JSON values, payloads by their shape; if it does not answer, `problem` says why."""
    document: dict[str, Any] = {
        "version": VERSION,
        "context": name,
        "at": timezone.now().isoformat(),
        "service": {},
        "problem": "",
    }
    place = service(name)
    try:
        with looking(place.alias) as conn:
            inboxes = [_inbox(*row) for row in rows(conn, _INBOXES)]
            latest = [each.to_json() for each in _latest(conn, place)]
            document["service"] = read_waiting(conn, place, name) | {"latest": latest, "inboxes": inboxes}
    except StrangleError as error:
        document["problem"] = str(error)
    return document


def keep_bystander(document: dict[str, Any]) -> None:
    """Make it the last observation under its name; no figures are sampled: its lags are in those of contexts."""
    Observation.objects.using(settings().DATABASE).update_or_create(
        context=document["context"], defaults={"document": document, "at": timezone.now()}
    )


def _inbox(name: str, position: int, standstill: str) -> dict[str, Any]:
    stream, group = group_of(name)
    return {"stream": stream, "group": group, "position": position, "standstill": standstill}


def _latest(conn: Any, place: Place) -> list[Link]:
    """The newest records of all its streams that belong to a chain, the newest first."""
    found = [each for (stream,) in rows(conn, _STREAMS) for each in read_latest(conn, place, stream, LATEST_SHOWN)]
    return sorted(found, key=lambda each: each.at, reverse=True)[:LATEST_SHOWN]
