"""Render a routing table as Gateway API HTTPRoutes (v1): weights, methods and headers, nothing sticky and no hold."""

from collections.abc import Iterator
from typing import Any

from migration_tools.errors import RoutingError
from migration_tools.kernel.planes import Plane
from migration_tools.routing.planes.target import Target, checked
from migration_tools.routing.rules import READING, ReadRule
from migration_tools.routing.table import BUCKETS, ContextRoute, RoutingTable, Side

Json = dict[str, Any]

VERSION_ANNOTATION = "strangler/routing-version"
RULES_MAXIMUM = 16
MATCHES_MAXIMUM = 64
MATCHES_OF_A_ROUTE_MAXIMUM = 128
MILLISECONDS_MAXIMUM = 99_999 * 3_600_000
# An HTTPRoute has one timeout a rule and no way to answer by itself, so a hold cannot be told: writes stay with the
# side that had them, whose fence refuses them with 503 and Retry-After as soon as it is closed.


def render(table: RoutingTable, target: Target, *, gateway: str, allow_unsticky: bool = False) -> list[Json]:
    """One HTTPRoute a context and one for the rest, attached to the Gateway `gateway`; upstreams are Services.

    Raises:
        RoutingError: with every reason why HTTPRoutes cannot say what this table does.
    """
    table = checked(table, target, Plane.GATEWAY_API, allow_unsticky=allow_unsticky)
    mistakes = [text for name, route in sorted(table.contexts.items()) for text in _mistakes(name, route)]
    upstreams = {table.default} | {up for route in table.contexts.values() for up in (route.old, route.service)}
    mistakes += [
        f"the upstream {name!r} cannot be the name of a Service, which ends in a letter or a digit; rename it"
        for name in sorted(upstreams)
        if name.endswith("_")
    ]
    mistakes += [
        f"the upstream {name!r} has endpoints on several ports; a Service has one"
        for name in sorted(upstreams)
        if len({endpoint.port for endpoint in target.upstreams[name]}) > 1
    ]
    if mistakes:
        raise RoutingError("; ".join(mistakes))
    found = [
        _http_route(f"{_kebab(name)}-strangler", gateway, list(_rules(route, target)), table.version)
        for name, route in sorted(table.contexts.items())
    ]
    rest = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "filters": [_HYGIENE],
        "backendRefs": [_backend(table.default, target, 1)],
    }
    # Its name cannot be a context's: those end in "-strangler".
    return [*found, _http_route("strangler-rest", gateway, [rest], table.version)]


_HYGIENE: Json = {
    "type": "RequestHeaderModifier",
    "requestHeaderModifier": {"remove": ["x-strangler-user", "x-strangler-shadow", "x-strangler-force"]},
}
_WITHOUT_MARKER: Json = {
    "type": "ResponseHeaderModifier",
    "responseHeaderModifier": {"remove": ["x-strangler-fenced"]},
}


def _http_route(name: str, gateway: str, rules: list[Json], version: int) -> Json:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "annotations": {VERSION_ANNOTATION: str(version)}},
        "spec": {"parentRefs": [{"name": gateway}], "rules": rules},
    }


def _mistakes(name: str, route: ContextRoute) -> Iterator[str]:
    if len({rule.side for rule in route.rules}) > 1:
        yield (
            f"{name}: its rules send to both sides and the first that matches counts; a gateway takes the most "
            f"specific one instead. Use rules of one side"
        )
    counts = [len(route.paths) * len(READING), *(len(_matches(route, rule)) for rule in route.rules), len(route.paths)]
    if len(counts) > RULES_MAXIMUM or max(counts) > MATCHES_MAXIMUM or sum(counts) > MATCHES_OF_A_ROUTE_MAXIMUM:
        yield (
            f"{name}: {len(counts)} rules with {sum(counts)} matches; an HTTPRoute has at most {RULES_MAXIMUM} with "
            f"{MATCHES_MAXIMUM} each and {MATCHES_OF_A_ROUTE_MAXIMUM} together"
        )
    if any(len(rule.headers) > RULES_MAXIMUM for rule in route.rules):
        yield f"{name}: a rule has more than {RULES_MAXIMUM} headers, which a match cannot hold"
    if any(len(path) > 1024 for path in (*route.paths, *(rule.path for rule in route.rules))):
        yield f"{name}: a path has more than 1024 characters, which a match cannot hold"


def _rules(route: ContextRoute, target: Target) -> Iterator[Json]:
    """Rules by header first, then the share of the reads, then the writes: of matches that tie, the first counts."""
    for rule in route.rules:
        yield _rule(_matches(route, rule), _side(route, rule.side, target), route.read_timeout_seconds)
    yield _rule(_reads(route), _share(route, target), route.read_timeout_seconds)
    writes = [{"path": {"type": "PathPrefix", "value": path}} for path in route.paths]
    yield _rule(writes, _side(route, route.writes_owner, target), route.write_timeout_seconds)


def _rule(matches: list[Json], backends: list[Json], timeout_seconds: float) -> Json:
    return {
        "matches": matches,
        "filters": [_HYGIENE, _WITHOUT_MARKER],
        "backendRefs": backends,
        "timeouts": {"request": _duration(timeout_seconds)},
    }


def _reads(route: ContextRoute) -> list[Json]:
    return [
        {"path": {"type": "PathPrefix", "value": path}, "method": method} for path in route.paths for method in READING
    ]


def _matches(route: ContextRoute, rule: ReadRule) -> list[Json]:
    headers = [{"type": "Exact", "name": name, "value": value} for name, value in rule.headers.items()]
    return [
        {
            "path": {"type": "PathPrefix", "value": rule.path or path},
            "method": method,
            **({"headers": headers} if headers else {}),
        }
        for path in ([""] if rule.path else route.paths)
        for method in rule.methods or READING
    ]


def _share(route: ContextRoute, target: Target) -> list[Json]:
    if route.reads_weight in (0, BUCKETS):
        return _side(route, "new" if route.reads_weight else "old", target)
    return [
        _backend(route.service, target, route.reads_weight),
        _backend(route.old, target, BUCKETS - route.reads_weight),
    ]


def _side(route: ContextRoute, side: Side, target: Target) -> list[Json]:
    return [_backend(route.upstream(side), target, 1)]


def _backend(upstream: str, target: Target, weight: int) -> Json:
    return {"name": _kebab(upstream), "port": target.upstreams[upstream][0].port, "weight": weight}


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _duration(seconds: float) -> str:
    """A duration as Gateway API spells it: at most five digits of a unit."""
    left = max(1, min(round(seconds * 1000), MILLISECONDS_MAXIMUM))
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
