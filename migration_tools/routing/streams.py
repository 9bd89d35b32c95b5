"""Sockets and event streams that stay open across flips: how many there are, and ending those of one side."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from migration_tools.routing import publishing
from migration_tools.routing.table import Side

CONFIRM_SECONDS = 5.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Drained:
    """What a drain found, and what it left: 0 unless the time was over before the streams were."""

    side: Side
    streams_before: int
    streams_left: int
    seconds: float

    def evidence(self) -> dict[str, Any]:
        """As journalled and printed."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def count(context: str, side: Side) -> int:
    """How many streams live proxies have open on a side, as they said within the last second or so."""
    return sum(row.streams.get(context, {}).get(side, 0) for row in publishing.live_proxies())


def by_proxy(context: str) -> dict[str, dict[str, int]]:
    """Proxy to side to how many are open."""
    return {row.proxy: row.streams.get(context, {}) for row in publishing.live_proxies()}


def drain(
    context: str, side: Side, *, seconds: float, author: str, reason: str, wait: Callable[[float], object] = time.sleep
) -> Drained:
    """End a side's streams at every proxy and wait, at most `seconds`, until none is left.

    Clients come back by the routes of that moment. Streams that begin on the side afterwards are counted too.

    Raises:
        RoutingNotConfirmed: a live proxy does not apply the drain; its streams may still be open.
    """
    before = count(context, side)
    began = time.monotonic()
    table = publishing.drain(context, side, author=author, reason=reason or f"drain the {side} side's streams")
    # Having applied it, a proxy says at once how many are open; so no count from before is taken for one after.
    publishing.wait_applied(table.version, CONFIRM_SECONDS)
    while (left := count(context, side)) and time.monotonic() - began < seconds:
        wait(_POLL_SECONDS)
    return Drained(side=side, streams_before=before, streams_left=left, seconds=round(time.monotonic() - began, 3))
