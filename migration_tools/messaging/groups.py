"""Named groups of handlers: each applies a stream's events by itself, with a position and dead letters of its own.

Handlers without a group belong to the side's own consumer, which applies the rows too and which hand-overs wait for. A
named group never applies rows. It may lag, stop, begin anew or be added later, and disturbs nobody: only the stream's
retention waits for it.
"""

import re

from migration_tools.errors import StrangleError

SHAPE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
SEPARATOR = "@"
# How the stream's owner tells a group's receipts from those of a side's own consumer.
PREFIX = "group "


def inbox_name(stream: str, group: str = "") -> str:
    """What a group's position and dead letters are kept under.

    Raises:
        StrangleError: the group's name cannot be one.
    """
    if group and not SHAPE.fullmatch(group):
        raise StrangleError(f"group {group!r} of {stream!r}; use lower-case letters, digits, - and _")
    return f"{stream}{SEPARATOR}{group}" if group else stream


def group_of(inbox: str) -> tuple[str, str]:
    """(stream, group) of what `inbox_name` made."""
    stream, _, group = inbox.partition(SEPARATOR)
    return stream, group


def receipt_name(consumer: str, group: str = "") -> str:
    """The name under which the stream's owner keeps a group's receipts."""
    return f"{PREFIX}{group} of {consumer}" if group else consumer
