"""What each data plane can do, and in sentences what of a route it cannot."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from migration_tools.kernel.planes import Plane
from migration_tools.routing.table import BUCKETS, ContextRoute


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a data plane can do.

    `confirms` is the command that tells the hand-over what the plane answers by; empty: nobody does. Without it a hold
    is of no use to the hand-over, which must know that it is in force before it closes the old owner.
    """

    sticky: bool
    monotonic: bool
    same_buckets: bool
    own_writes: bool
    by_method: bool = True
    by_header: bool = True
    by_cookie: bool
    shadow: bool
    hold: bool
    confirms: str
    several: bool
    counts: bool


WORDS = {
    "sticky": "a user stays on a side",
    "monotonic": "a growing share sends nobody back",
    "same_buckets": "`side_for` knows the side",
    "own_writes": "who has just written reads from the owner",
    "by_method": "rules by method",
    "by_header": "rules by header",
    "by_cookie": "rules by cookie and cohort",
    "shadow": "shadow reads",
    "hold": "holds writes",
    "confirms": "confirms a change",
    "several": "several proxies at once",
    "counts": "counts for a ramp",
}

_ENVOY = Capabilities(
    sticky=True,
    monotonic=True,
    same_buckets=True,
    own_writes=True,
    by_cookie=True,
    shadow=True,
    hold=True,
    confirms="strangle_proxy run",
    several=True,
    counts=True,
)
_OF_PLANE = {
    Plane.ENVOY: _ENVOY,
    Plane.OWN_ENVOY: Capabilities(
        sticky=True,
        monotonic=True,
        same_buckets=True,
        own_writes=True,
        by_cookie=True,
        shadow=True,
        hold=True,
        confirms="",
        several=True,
        counts=False,
    ),
    Plane.HAPROXY: Capabilities(
        sticky=True,
        monotonic=True,
        same_buckets=True,
        own_writes=True,
        by_cookie=True,
        shadow=False,
        hold=True,
        confirms="strangle_route follow",
        several=True,
        counts=False,
    ),
    Plane.NGINX: Capabilities(
        sticky=True,
        monotonic=True,
        same_buckets=False,
        own_writes=True,
        by_cookie=True,
        shadow=False,
        hold=False,
        confirms="",
        several=True,
        counts=False,
    ),
    Plane.GATEWAY_API: Capabilities(
        sticky=False,
        monotonic=False,
        same_buckets=False,
        own_writes=False,
        by_cookie=False,
        shadow=False,
        hold=False,
        confirms="",
        several=True,
        counts=False,
    ),
}


def capabilities(plane: Plane | str) -> Capabilities:
    """What a data plane can do."""
    return _OF_PLANE[Plane(plane)]


def cannot(plane: Plane | str, route: ContextRoute, *, allow_unsticky: bool = False) -> Iterator[str]:
    """What of this route the data plane cannot do, in sentences; a hold it lacks is not named, the fence stands in."""
    able = capabilities(plane)
    if 0 < route.reads_weight < BUCKETS and not able.sticky and not allow_unsticky:
        yield (
            f"the data plane {str(plane)!r} draws a side for every request anew, so {route.reads_percent:g} % of the "
            f"reads would send users to and fro; use 0 or 100 %, or allow it with --allow-unsticky"
        )
    if route.shadow_percent and not able.shadow:
        yield f"the data plane {str(plane)!r} cannot shadow reads; set shadow=0%, or use the data plane 'envoy'"
    for number, rule in enumerate(route.rules, 1):
        if rule.all_cookies() and not able.by_cookie:
            yield f"the data plane {str(plane)!r} has no rules by cookie or cohort; take rule {number} away"


def markdown_table() -> str:
    """The table of capabilities as the documentation shows it."""
    lines = ["| | " + " | ".join(f"`{plane}`" for plane in Plane) + " |", "|---" * (len(Plane) + 1) + "|"]
    for item in fields(Capabilities):
        cells = [_cell(getattr(capabilities(plane), item.name)) for plane in Plane]
        lines.append(f"| {WORDS[item.name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: bool | str) -> str:
    if isinstance(value, str) and value:
        return f"by `{value}`"
    return "yes" if value else "no"
