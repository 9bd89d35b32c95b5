"""An AsyncAPI 3.0 document of what a side publishes and handles: a channel a stream, a message a version."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from migration_tools.contracts.declaration import Contract

VERSION = "3.0.0"
DIALECT = "application/schema+json;version=draft-2020-12"


def document(
    contracts: Iterable[Contract], handled: Iterable[tuple[str, str, tuple[int, int], str]], *, side: str, release: str
) -> dict[str, Any]:
    """The document as JSON values; `handled` are (stream, event type, versions, handler) of this side.

    The payload is that of the event; the envelope around it is the same for all (docs/reference/events.md).
    """
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for contract in contracts:
        if contract.rows:
            continue
        name = _key(f"{contract.event_type}.v{contract.version}")
        _channel(channels, contract.stream)["messages"][name] = {
            "name": contract.event_type,
            "title": f"{contract.event_type} {contract.version}",
            **({"summary": contract.description} if contract.description else {}),
            "contentType": "application/json",
            "correlationId": {"location": "$message.header#/correlationId"},
            "headers": ENVELOPE,
            "payload": {"schemaFormat": DIALECT, "schema": contract.schema},
        }
        _operation(operations, "send", contract.stream, name, contract.description)
    for stream, event_type, (first, last), handler in handled:
        for version in range(first, last + 1):
            name = _key(f"{event_type}.v{version}")
            messages = _channel(channels, stream)["messages"]
            messages.setdefault(name, {"name": event_type, "title": f"{event_type} {version}", "headers": ENVELOPE})
            _operation(operations, "receive", stream, name, f"handled by {handler}")
    return {
        "asyncapi": VERSION,
        "info": {"title": f"Events of {side}", "version": release},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }


ENVELOPE: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "eventId": {"type": "string", "format": "uuid"},
        "aggregateId": {"type": "string"},
        "aggregateType": {"type": "string"},
        "eventType": {"type": "string"},
        "eventVersion": {"type": "integer"},
        "timestamp": {"type": "string", "format": "date-time"},
        "correlationId": {"type": ["string", "null"]},
        "causationId": {"type": ["string", "null"]},
        "metadata": {"type": "object"},
        "stream": {"type": "string"},
        "origin": {"type": "string"},
        "position": {"type": "integer"},
    },
}


def _channel(channels: dict[str, Any], stream: str) -> dict[str, Any]:
    made: dict[str, Any] = channels.setdefault(
        _key(stream),
        {"address": f"strangle.{stream}", "description": "The stream, by feed or broker.", "messages": {}},
    )
    return made


def _operation(operations: dict[str, Any], action: str, stream: str, message: str, summary: str) -> None:
    made = operations.setdefault(
        f"{action}.{message}",
        {"action": action, "channel": {"$ref": f"#/channels/{_key(stream)}"}, "messages": []},
    )
    reference = {"$ref": f"#/channels/{_key(stream)}/messages/{message}"}
    if reference not in made["messages"]:
        made["messages"].append(reference)
    if summary:
        made["summary"] = "; ".join(filter(None, [made.get("summary"), summary]))


def _key(name: str) -> str:
    """A name as AsyncAPI allows it for keys."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)
