"""Envoy's route configuration of a routing table: forced, pinned, shared reads; held or owned writes."""

import re
from collections.abc import Iterator
from typing import Any

from migration_tools.routing.rules import READING, ReadRule
from migration_tools.routing.table import (
    BUCKET_COOKIE,
    BUCKETS,
    ContextRoute,
    RoutingTable,
    Side,
    own_write_pattern,
    pin_cookie,
)
from proxy.cluster_names import SIDES, read_cluster, shadow_cluster, socket_cluster, stream_cluster, write_cluster
from proxy.options import ProxyOptions
from proxy.streams import EVENTS, UPGRADE

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy"

ROUTES = "main"
VERSION_PATH = "/.strangler/version"
FENCED_HEADER = "x-strangler-fenced"
SHADOW_HEADER = "x-strangler-shadow"
FORCE_HEADER = "x-sx-force"
# What the owner is told of a request: it is a write of this context, or a read that only the owner may answer.
WRITES_HEADER = "x-strangler-writes"
PINNED_HEADER = "x-strangler-pinned"
PIN_SECONDS = 2
MIRROR = "request_mirror_policies"
NO_HOST = r".*[,\s@/\\?#].*"
BUCKET_SECONDS = 365 * 86_400
# Envoy ends retrying at a route's timeout, so this number only has to be out of reach.
HOLD_RETRIES = 100_000
PLAIN_RETRIES = 4


def route_configuration(table: RoutingTable, options: ProxyOptions, *, marker: str) -> Json:
    """All routes; `marker` is what the version path answers, so that applying them can be confirmed."""
    version = {
        "match": {"path": VERSION_PATH},
        "direct_response": {"status": 200, "body": {"inline_string": marker}},
    }
    # No overall limit: the rest of the site may stream; an idle stream is cut by the listener.
    rest = {
        "match": {"prefix": "/"},
        "route": {"cluster": table.default, "timeout": "0s", "retry_policy": _retries(PLAIN_RETRIES)},
    }
    site = {"name": "site", "domains": ["*"], "matcher": _by_prefix(table, options, version, rest)}
    found: Json = {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "validate_clusters": True,
        "response_headers_to_remove": [FENCED_HEADER],
        "virtual_hosts": [site],
    }
    if options.allow_force_header:
        found["request_headers_to_remove"] = [FORCE_HEADER]
    if options.trusted_hops:
        found["request_headers_to_add"] = [_set_header("x-forwarded-for", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")]
    return found


def _by_prefix(table: RoutingTable, options: ProxyOptions, version: Json, rest: Json) -> Json:
    """The routes of one context for a path below its prefix, so that no request pays for other contexts' rules."""
    # The longest prefix first: contexts may nest, and the deeper one is meant.
    pairs = sorted(
        ((path, name) for name, route in table.contexts.items() for path in route.paths),
        key=lambda pair: (-len(pair[0]), pair),
    )
    paths = [path for path, _ in pairs]
    outermost = [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]

    def below(root: str) -> Json:
        found = [_refusal_of_hosts()]
        for path, name in pairs:
            if path == root or path.startswith(f"{root}/"):
                found += _context_routes(name, path, table.contexts[name], options)
        # The tree compares letters, a route whole segments: /api/ordersX comes here and is the rest's.
        return _route_list([*found, rest])

    otherwise = _route_list([version, _refusal_of_hosts(), rest])
    if not outermost:
        return {"on_no_match": otherwise}
    path = {"@type": f"{_TYPE}.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": ":path"}
    tree = {
        "input": {"name": "path", "typed_config": path},
        "prefix_match_map": {"map": {root: below(root) for root in outermost}},
    }
    return {"matcher_tree": tree, "on_no_match": otherwise}


def _route_list(found: list[Json]) -> Json:
    config = {"@type": f"{_TYPE}.config.route.v3.RouteList", "routes": found}
    return {"action": {"name": "routes", "typed_config": config}}


def _refusal_of_hosts() -> Json:
    # Envoy joins two Host headers into one; the applications behind it might each believe another half.
    return {
        "match": {
            "prefix": "/",
            "headers": [{"name": ":authority", "string_match": {"safe_regex": {"regex": NO_HOST}}}],
        },
        "direct_response": {"status": 400, "body": {"inline_string": "one Host, please\n"}},
    }


def _context_routes(name: str, path: str, route: ContextRoute, options: ProxyOptions) -> Iterator[Json]:
    """Sockets, then writes, then event streams, then all other reads."""
    # An upgraded connection may write, and what it writes cannot be held: it belongs to the owner from the start.
    yield {
        "match": {"path_separated_prefix": path, "headers": [UPGRADE]},
        "route": {"cluster": socket_cluster(name), **_write_timeout(route)},
    }
    reading = {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(READING)}}}
    yield {
        "match": {"path_separated_prefix": path, "headers": [{**reading, "invert_match": True}]},
        "request_body_buffer_limit": route.buffer_bytes,
        "route": {"cluster": write_cluster(name), **_write_timeout(route)},
        "request_headers_to_add": [_set_header(WRITES_HEADER, name)],
        "response_headers_to_add": [_set_cookie(pin_cookie(name), "1", PIN_SECONDS, options)],
    }
    # Streams last as long as they last; a silent one is cut by the listener.
    endless = {"timeout": "0s", "retry_policy": _retries(PLAIN_RETRIES)}
    # The owner changes by endpoints alone: were it named here, a hand-over would wait for new routes.
    owner = {"cluster": socket_cluster(name), "timeout": "0s", "retry_policy": _retries(HOLD_RETRIES)}
    streams = {side: stream_cluster(name, side) for side in SIDES}
    yield from _reads(name, path, route, options, streams, owner, endless, EVENTS)
    timeout = {"timeout": f"{route.read_timeout_seconds:.3f}s", "retry_policy": _retries(PLAIN_RETRIES)}
    pinned = {"cluster": write_cluster(name), **_write_timeout(route)}
    reads = {side: read_cluster(name, side) for side in SIDES}
    yield from _reads(name, path, route, options, reads, pinned, {**timeout, **_mirror(route)})


def _reads(
    name: str,
    path: str,
    route: ContextRoute,
    options: ProxyOptions,
    clusters: dict[Side, str],
    pinned: Json,
    action: Json,
    *asked: Json,
) -> Iterator[Json]:
    """Forced, pinned, ruled and shared reads, of requests that have everything `asked`."""

    def match(*headers: Json) -> Json:
        return {"path_separated_prefix": path, "headers": [*asked, *headers]}

    if options.allow_force_header:
        plain = {key: value for key, value in action.items() if key != MIRROR}
        for side in SIDES:
            forced = {"name": FORCE_HEADER, "string_match": {"exact": side}}
            yield {"match": match(forced), "route": {"cluster": clusters[side], **plain}}
    yield {
        "match": match(_wrote(name)),
        "route": pinned,
        "request_headers_to_add": [_set_header(PINNED_HEADER, name)],
    }
    for rule in route.rules:
        if not rule.path or rule.path == path or rule.path.startswith(f"{path}/"):
            ruled = {"cluster": clusters[rule.side], **action}
            yield {"match": _rule_match(rule, path, asked), "route": ruled}
    if 0 < route.reads_weight < BUCKETS:
        share = _share(clusters, route)
        yield {
            "match": match(_has_cookie(BUCKET_COOKIE, "[^;]+")),
            "route": {**share, "hash_policy": [{"cookie": {"name": BUCKET_COOKIE}}], **action},
        }
        # A first visit is decided by the request's own id, which becomes the visitor's cookie.
        yield {
            "match": match(),
            "route": {**share, "hash_policy": [{"header": {"header_name": "x-request-id"}}], **action},
            "response_headers_to_add": [_set_cookie(BUCKET_COOKIE, "%REQ(X-REQUEST-ID)%", BUCKET_SECONDS, options)],
        }
    else:
        side = "new" if route.reads_weight else "old"
        yield {"match": match(), "route": {"cluster": clusters[side], **action}}


def _mirror(route: ContextRoute) -> Json:
    """Send a sample of these reads to the comparator as well; nobody waits for what it answers.

    Forced and pinned reads have none: testers, and readers who wrote a moment ago and read from the owner because
    the other side may not have it yet.
    """
    if not route.shadow_percent:
        return {}
    policy = {
        "cluster": shadow_cluster(),
        "runtime_fraction": {
            "default_value": {"numerator": round(route.shadow_percent * 10_000), "denominator": "MILLION"}
        },
        # The sides must see the Host their users see.
        "disable_shadow_host_suffix_append": True,
        "request_headers_mutations": [
            {
                "append": {
                    "header": {"key": SHADOW_HEADER, "value": "1"},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                }
            }
        ],
    }
    return {MIRROR: [policy]}


def _rule_match(rule: ReadRule, path: str, asked: tuple[Json, ...]) -> Json:
    """What a rule asks for, within one path of its context; writes have gone before."""
    regex = {"safe_regex": {"regex": "|".join(rule.methods)}}
    methods = [{"name": ":method", "string_match": regex}] if rule.methods else []
    headers = [{"name": name, "string_match": {"exact": value}} for name, value in rule.headers.items()]
    cookies = [_has_cookie(name, re.escape(value)) for name, value in rule.all_cookies().items()]
    return {"path_separated_prefix": rule.path or path, "headers": [*asked, *methods, *headers, *cookies]}


def _share(clusters: dict[Side, str], route: ContextRoute) -> Json:
    weight = route.reads_weight
    # The new side comes first: it owns the lowest buckets, so a growing share never sends anybody back.
    weighted = [
        {"name": clusters["new"], "weight": weight},
        {"name": clusters["old"], "weight": BUCKETS - weight},
    ]
    return {"weighted_clusters": {"clusters": weighted, "use_hash_policy": True}}


def _write_timeout(route: ContextRoute) -> Json:
    return {"timeout": f"{route.write_timeout_seconds:.3f}s", "retry_policy": _retries(HOLD_RETRIES)}


def _retries(count: int) -> Json:
    # Nothing else may be retried: a write that failed in any other way may have been applied.
    return {
        "retry_on": "retriable-headers,connect-failure",
        "retriable_headers": [{"name": FENCED_HEADER, "string_match": {"exact": "1"}}],
        "num_retries": count,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.100s"},
    }


def _has_cookie(name: str, value: str) -> Json:
    """`value` is a regular expression."""
    return _cookies_match(f"{re.escape(name)}={value}")


def _wrote(context: str) -> Json:
    """Whoever wrote a moment ago, or whose write the other side does not have yet as far as they know."""
    return _cookies_match(f"({pin_cookie(context)}=1|{own_write_pattern(context)}=[^;]*)")


def _cookies_match(pattern: str) -> Json:
    return {"name": "cookie", "string_match": {"safe_regex": {"regex": rf"(.*;\s*)?{pattern}(\s*;.*)?"}}}


def _set_header(key: str, value: str) -> Json:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _set_cookie(name: str, value: str, max_age_seconds: int, options: ProxyOptions) -> Json:
    secure = "; Secure" if options.secure_cookies else ""
    text = f"{name}={value}; Max-Age={max_age_seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"
    return {"header": {"key": "set-cookie", "value": text}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
