"""Pure functions that lift an old payload to the next version, chained; each shown by golden samples."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from migration_tools.errors import ContractError

Lift = Callable[[dict[str, Any]], dict[str, Any]]

_registry: dict[tuple[str, str], dict[int, Lift]] = {}


def upcasts(event_type: str, *, stream: str, since: int) -> Callable[[Lift], Lift]:
    """Register a function that makes a payload of version `since` one of version `since + 1`.

    It must be pure: the same answer each time, its argument and the world left alone.
    """

    def register(function: Lift) -> Lift:
        known = _registry.setdefault((stream, event_type), {})
        if known.setdefault(since, function) is not function:
            raise ContractError(f"two upcasters lift {event_type!r} of {stream!r} from version {since}; keep one")
        return function

    return register


def upcasters(stream: str, event_type: str) -> Mapping[int, Lift]:
    """The steps of an event, by the version that each begins with."""
    return _registry.get((stream, event_type), {})


def lift(stream: str, event_type: str, payload: Mapping[str, Any], *, since: int, upto: int) -> dict[str, Any] | None:
    """The payload in version `upto`; None when a step is missing."""
    steps = upcasters(stream, event_type)
    if any(version not in steps for version in range(since, upto)):
        return None
    lifted = copy.deepcopy(dict(payload))
    for version in range(since, upto):
        lifted = steps[version](lifted)
    return lifted


def impurities(function: Lift, payload: dict[str, Any]) -> list[str]:
    """What shows that the function is not pure, on this payload."""
    given = copy.deepcopy(payload)
    first = function(given)
    found = ["it changes its argument"] if given != payload else []
    if function(copy.deepcopy(payload)) != first:
        found.append("it answers differently when asked again")
    return found
