"""Maxwell's JSON."""

import json
import re
from decimal import Decimal
from typing import Final

from migration_tools.messaging.foreign import ForeignChange, ForeignKind, UnusableChange

KINDS: Final = {
    "insert": ForeignKind.WRITTEN,
    "update": ForeignKind.WRITTEN,
    "delete": ForeignKind.DELETED,
    "bootstrap-insert": ForeignKind.READ,
}
_POSITION = re.compile(r"(?P<file>\d+):(?P<offset>\d+)\Z")
# The last row of a transaction has no offset within it.
LAST: Final = (1 << 62) - 1


def read_changes(value: str | bytes | None, key: tuple[str, ...]) -> list[ForeignChange]:
    """Read a message: its row, and before it the end of the row's old key if an update changed that.

    Nothing for what says nothing of a row: bootstrap markers, changes of schemas, heartbeats.

    Raises:
        UnusableChange: it is not Maxwell's, or has no position.
    """
    document = json.loads(value or "null", parse_float=Decimal)
    if document is None:
        return []
    if not isinstance(document, dict) or "type" not in document:
        raise UnusableChange("a message has no 'type'; a Maxwell feed carries Maxwell's JSON")
    kind = KINDS.get(document["type"])
    if kind is None:
        return []
    table = f"{document.get('database')}.{document.get('table')}"
    row = document.get("data")
    if not isinstance(row, dict):
        raise UnusableChange(f"a {document['type']!r} of {table!r} has no 'data'; Maxwell must write JSON, unencrypted")
    found = _POSITION.search(str(document.get("position", "")))
    if kind is ForeignKind.READ:
        return [ForeignChange(table=table, kind=kind, values=row, position=())]
    if found is None:
        raise UnusableChange(
            f"a change of {table!r} has no 'position'; start Maxwell with output_binlog_position=true and "
            "output_xoffset=true, a repetition cannot be told otherwise"
        )
    offset = LAST if document.get("commit") else document.get("xoffset")
    if offset is None:
        raise UnusableChange(f"a change of {table!r} has no 'xoffset'; start Maxwell with output_xoffset=true")
    position = (int(found["file"]), int(found["offset"]), int(offset))
    changes = [ForeignChange(table=table, kind=kind, values=row, position=position)]
    old = document.get("old") or {}
    if document["type"] == "update" and any(name in old for name in key):
        before = {**row, **old}
        changes.insert(0, ForeignChange(table=table, kind=ForeignKind.DELETED, values=before, position=position))
    return changes
