"""Django's own connections past a pooler, for as long as a command runs; see DIRECT."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from migration_tools.conf import settings


@contextmanager
def going_direct() -> Iterator[None]:
    """Let connections of this process go where DIRECT says, for the block; one with an open transaction stays."""
    before: dict[str, dict[str, Any]] = {}
    for alias, given in settings().DIRECT.items():
        if not connections[alias].in_atomic_block:
            connections[alias].close()
            # Connections that other threads open are made from the same dictionary.
            mine = connections[alias].settings_dict
            before[alias] = {name: mine[name] for name in given}
            mine.update(given)
    try:
        yield
    finally:
        for alias, old in before.items():
            connections[alias].close()
            connections[alias].settings_dict.update(old)
