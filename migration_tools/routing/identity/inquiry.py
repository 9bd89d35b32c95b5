"""One short, bounded question to the monolith over HTTP."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from migration_tools.errors import StrangleError

# A visitor waits for it.
SECONDS = 2.0
BYTES_AT_MOST = 65_536
# How a service shows the monolith whose token it asks for.
SESSION_HEADER = "x-strangler-session"


class Unreachable(StrangleError):
    """The monolith did not answer, or not with what was asked for; nobody is logged out for that."""


def ask(url: str, *, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """GET a JSON document: its status and content, None when there is none.

    Raises:
        Unreachable: no answer in time, or nonsense.
    """
    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise Unreachable(f"{url!r} is no http(s) URL; see MIGRATION_TOOLS['IDENTITY_URL']")
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=SECONDS)
    try:
        connection.request("GET", parts.path or "/", headers={"Accept": "application/json", **(headers or {})})
        answer = connection.getresponse()
        body = answer.read(BYTES_AT_MOST + 1)
        if len(body) > BYTES_AT_MOST:
            raise Unreachable(f"{url} answered more than {BYTES_AT_MOST} bytes")
        return answer.status, json.loads(body) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"{url} does not answer ({type(error).__name__})") from error
    finally:
        connection.close()
