"""Take a message's value out of what carries it: a line of kcat -J or strangle_changes, a body of HTTP, or itself."""

import json

from migration_tools.messaging.foreign import UnusableChange


def values_of(line: str) -> str | None:
    """The value in a line: kcat's `payload`, our own `value`, or the line itself; None for a tombstone.

    Raises:
        UnusableChange: it is not JSON.
    """
    document = _read(line)
    if isinstance(document, dict) and {"topic", "offset", "payload"} <= document.keys():
        payload = document["payload"]
        return payload if payload is None or isinstance(payload, str) else json.dumps(payload)
    if isinstance(document, dict) and set(document) == {"topic", "key", "value"}:
        return None if document["value"] is None else json.dumps(document["value"])
    return None if document is None else line


def values_in(body: bytes) -> list[str | None]:
    """The values in a request: one, or an array of them.

    Raises:
        UnusableChange: it is not JSON.
    """
    text = body.decode(errors="replace")
    document = _read(text)
    if not isinstance(document, list):
        return [None if document is None else text]
    # Cut where the array's elements are, so that no number is written anew.
    decoder, at, values = json.JSONDecoder(), text.index("[") + 1, list[str | None]()
    while len(values) < len(document):
        while text[at] in ", \t\r\n":
            at += 1
        value, end = decoder.raw_decode(text, at)
        values.append(None if value is None else text[at:end])
        at = end
    return values


def _read(text: str) -> object:
    try:
        return json.loads(text) if text.strip() else None
    except ValueError as error:
        raise UnusableChange("a message is not JSON; the converters must be JsonConverter") from error
