"""Render a routing table for HAProxy: Envoy's buckets, shares and owners in maps that change at run time."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from migration_tools.kernel.planes import Plane
from migration_tools.routing.planes.target import (
    SPOOFABLE,
    SPOOFABLE_WITHOUT_TRUSTED_PROXY,
    VERSION_PATH,
    Endpoint,
    Target,
    checked,
)
from migration_tools.routing.rules import READING, ReadRule
from migration_tools.routing.table import BUCKET_COOKIE, BUCKETS, ContextRoute, RoutingTable, pin_cookie

BUCKET_SECONDS = 365 * 86_400
PIN_SECONDS = 2
# HAProxy counts milliseconds in 31 bits.
MILLISECONDS_MAXIMUM = 2_000_000_000

READS, WRITES, PATHS, LIMITS, STATE = "reads.map", "writes.map", "paths.map", "limits.map", "state.map"
CONFIGURATION, LUA, SOCKET = "haproxy.cfg", "owner.lua", "haproxy.sock"

# Note [held in HAProxy]: a write waits in this loop before HAProxy has chosen a server, so the application hears
# nothing of it and its body is not read. The map is HAProxy's own, changed by the runtime socket; when it names a
# side the write goes there, once. What waited for its whole time is answered 503 and was applied nowhere.
_OWNER_LUA = """-- Where a context's writes go; while they are held, wait for it.
local owners = Map.new("{writes}", Map._str)
local limits = Map.new("{limits}", Map._str)

core.register_action("strangler_owner", {{ "http-req" }}, function(txn)
    local context = txn:get_var("txn.context")
    local waits = tonumber(limits:lookup(context)) or 60000
    local waited = 0
    local owner = owners:lookup(context)
    while owner == "hold" and waited < waits do
        core.msleep({poll})
        waited = waited + {poll}
        owner = owners:lookup(context)
    end
    txn:set_var("txn.side", owner or "hold")
end)
"""
_POLL_MILLISECONDS = 20


@dataclass(frozen=True, kw_only=True)
class HAProxyFiles:
    """What HAProxy reads at its start, and of that what changes while it runs.

    `structure` is the digest of everything that only a reload changes; `shares`, `owners` and `marker` are set through
    the runtime socket.
    """

    files: dict[str, str]
    structure: str
    marker: str
    shares: dict[str, str]
    owners: dict[str, str]


def render(table: RoutingTable, target: Target) -> HAProxyFiles:
    """
    Raises:
        RoutingError: with every reason why HAProxy cannot answer by this table.
    """
    table = checked(table, target, Plane.HAPROXY)
    contexts = sorted(table.contexts.items())
    fixed = {
        CONFIGURATION: "\n".join(_configuration(table, target)) + "\n",
        LUA: _OWNER_LUA.format(writes=target.file(WRITES), limits=target.file(LIMITS), poll=_POLL_MILLISECONDS),
        # Keys end in a slash, and so does what is looked up: whole segments match, the longest prefix first.
        PATHS: _map({f"{path}/": name for name, route in contexts for path in route.paths}),
        LIMITS: _map({name: str(_milliseconds(route.write_timeout_seconds)) for name, route in contexts}),
    }
    structure = _digest(fixed)
    shares = {name: str(route.reads_weight) for name, route in contexts}
    owners = {name: route.writes for name, route in contexts}
    marker = _digest([structure, shares, owners])
    changing = {
        READS: _map(shares),
        WRITES: _map(dict(owners)),
        STATE: _map({"structure": structure, "version": marker}),
    }
    return HAProxyFiles(
        files={**fixed, **changing}, structure=structure, marker=marker, shares=shares, owners=dict(owners)
    )


def write_backend(context: str, side: str) -> str:
    """The backend that a context's writes to a side pass through."""
    return f"{context}_write_{side}"


def _map(rows: dict[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in rows.items())


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _milliseconds(seconds: float) -> int:
    return max(1, min(round(seconds * 1000), MILLISECONDS_MAXIMUM))


def _configuration(table: RoutingTable, target: Target) -> Iterator[str]:
    contexts = sorted(table.contexts.items())
    yield from (
        "# Made by strangle_route render; change the routing table, not this file.",
        "global",
        "    # normalize-uri is still marked as an experiment.",
        "    expose-experimental-directives",
        f"    stats socket {target.file(SOCKET)} mode 600 level admin expose-fd listeners",
        f"    lua-load {target.file(LUA)}",
        "",
        "defaults",
        "    mode http",
        "    timeout connect 1s",
        "    timeout client 300s",
        "    timeout server 300s",
        "    timeout tunnel 1h",
        "    timeout http-request 10s",
        "    timeout http-keep-alive 60s",
        "",
        "frontend site",
        f"    bind {target.listen}",
        *(f"    {line}" for line in _hygiene(target)),
        *(f"    {line}" for line in _decision(target)),
    )
    for name, route in contexts:
        yield from (f"    {line}" for line in _context(name, route))
    yield from (f"    {line}" for line in _last(target, contexts))
    for name, route in contexts:
        for side in ("old", "new"):
            yield from _backend(name, route, side, target)
    yield from ("", "backend site_default", "    http-response del-header x-strangler-fenced")
    yield from _servers(target.upstreams[table.default])


def _hygiene(target: Target) -> Iterator[str]:
    """Paths brought to one spelling, headers that applications believe stripped."""
    answer = f"lf-string %[str(version),map_str({target.file(STATE)})]"
    yield f"http-request return status 200 content-type text/plain {answer} if {{ path {VERSION_PATH} }}"
    yield "http-request deny deny_status 400 if { req.hdr_cnt(host) gt 1 }"
    yield "http-request deny deny_status 400 if { req.hdr_names -m sub _ }"
    yield "http-request deny deny_status 400 if { path -i -m sub %2f %5c }"
    for step in ("fragment-strip", "percent-decode-unreserved", "path-merge-slashes", "path-strip-dot"):
        yield f"http-request normalize-uri {step}"
    yield "http-request normalize-uri path-strip-dotdot full"
    yield from (f"http-request del-header {name}" for name in SPOOFABLE)
    yield from (f"http-request del-header {prefix} -m beg" for prefix in ("x-strangler-", "x-sx-"))
    if target.trusted_hops:
        yield "http-request add-header x-forwarded-for %[src]"
    else:
        yield from (f"http-request del-header {name}" for name in SPOOFABLE_WITHOUT_TRUSTED_PROXY)
        yield "http-request set-header x-forwarded-for %[src]"
        yield "http-request set-header x-forwarded-proto http"
        yield "http-request set-header x-forwarded-host %[req.hdr(host)]"
    yield "http-request set-var(txn.id) uuid()"
    yield "http-request set-header x-request-id %[var(txn.id)]"


def _decision(target: Target) -> Iterator[str]:
    """Which context a request is of, and its reader's bucket against the context's share."""
    yield f"http-request set-var(txn.context) path,concat(/),map_beg({target.file(PATHS)})"
    yield f"acl reading method {' '.join(READING)}"
    yield "acl ours var(txn.context) -m found"
    yield "acl decided var(txn.side) -m found"
    yield f"acl has_bucket req.cook({BUCKET_COOKIE}) -m len gt 0"
    yield "acl goes_new var(txn.side) -m str new"
    yield "acl goes_old var(txn.side) -m str old"
    yield "acl follows var(txn.follows) -m bool"
    yield f"http-request set-var(txn.weight) var(txn.context),map_str_int({target.file(READS)},0) if ours"
    yield f"acl shared var(txn.weight) -m int 1:{BUCKETS - 1}"
    yield "http-request set-var(txn.follows) bool(true) if ours !reading"


def _context(name: str, route: ContextRoute) -> Iterator[str]:
    """What differs from context to context: who has just written, and the rules in their order."""
    yield f"acl in_{name} var(txn.context) -m str {name}"
    yield f"http-request set-var(txn.follows) bool(true) if in_{name} {{ req.cook({pin_cookie(name)}) -m str 1 }}"
    for rule in route.rules:
        conditions = " ".join(_conditions(rule))
        yield f"http-request set-var(txn.side) str({rule.side}) if in_{name} !follows !decided {conditions}"


def _conditions(rule: ReadRule) -> Iterator[str]:
    # After "--" nothing is taken for a flag, whatever the value begins with.
    yield f"{{ method {' '.join(rule.methods or READING)} }}"
    if rule.path:
        yield f'{{ path,concat(/) -m beg -- "{_quoted(rule.path)}/" }}'
    for name, value in rule.headers.items():
        yield f"{{ req.fhdr({name}) -m str -- {value} }}"
    for name, value in rule.all_cookies().items():
        yield f"{{ req.cook({name}) -m str -- {value} }}"


def _quoted(path: str) -> str:
    """A path within double quotes, where a dollar would begin a variable of the environment."""
    return path.replace("$", "\\$")


def _last(target: Target, contexts: list[tuple[str, ContextRoute]]) -> Iterator[str]:
    """Reads by share, writes by their owner; see Note [held in HAProxy]."""
    cookie = f"Max-Age={BUCKET_SECONDS}; {target.cookie_flags}"
    undecided = "ours !follows !decided"
    yield f"http-request set-var(txn.key) req.cook({BUCKET_COOKIE}) if {undecided} has_bucket"
    yield f"http-request set-var(txn.key) var(txn.id) if {undecided} !has_bucket"
    yield f"http-request set-var(txn.first) var(txn.id) if {undecided} !has_bucket shared"
    # The hash is signed here; its lowest bits are the bucket whatever its sign.
    yield f"http-request set-var(txn.bucket) var(txn.key),xxh64,and({BUCKETS - 1}) if {undecided}"
    below = "{ var(txn.bucket),sub(txn.weight) -m int lt 0 }"
    yield f"http-request set-var(txn.side) str(new) if {undecided} {below}"
    yield f"http-request set-var(txn.side) str(old) if {undecided}"
    yield "http-request lua.strangler_owner if ours follows"
    refused = 'content-type text/plain string "writes are held for a moment"'
    yield f"http-request return status 503 {refused} hdr retry-after 1 if follows !goes_new !goes_old"
    first = "{ var(txn.first) -m found }"
    yield f'http-response add-header set-cookie "{BUCKET_COOKIE}=%[var(txn.first)]; {cookie}" if {first}'
    for name, _ in contexts:
        pin = f"{pin_cookie(name)}=1; Max-Age={PIN_SECONDS}; {target.cookie_flags}"
        wrote = f"{{ var(txn.context) -m str {name} }} !{{ var(txn.read) -m bool }}"
        yield f'http-response add-header set-cookie "{pin}" if {wrote}'
    yield "http-request set-var(txn.read) bool(true) if reading"
    for name, _ in contexts:
        # Writes alone pass through these, so that a reader's long answer does not keep a hold from being confirmed.
        yield f"use_backend {write_backend(name, 'new')} if in_{name} !reading goes_new"
        yield f"use_backend {write_backend(name, 'old')} if in_{name} !reading"
        yield f"use_backend {name}_read_new if in_{name} goes_new"
        yield f"use_backend {name}_read_old if in_{name}"
    yield "default_backend site_default"


def _backend(name: str, route: ContextRoute, side: str, target: Target) -> Iterator[str]:
    servers = target.upstreams[route.service if side == "new" else route.old]
    marker = "    http-response del-header x-strangler-fenced"
    yield from ("", f"backend {write_backend(name, side)}")
    # A connection of its own for each write: one that the application closes meanwhile would lose its answer.
    yield from ("    option http-server-close", f"    timeout server {_milliseconds(route.write_timeout_seconds)}ms")
    yield from (marker, *_servers(servers))
    yield from ("", f"backend {name}_read_{side}", f"    timeout server {_milliseconds(route.read_timeout_seconds)}ms")
    yield from (marker, *_servers(servers))


def _servers(endpoints: tuple[Endpoint, ...]) -> Iterator[str]:
    yield from (f"    server s{number} {endpoint}" for number, endpoint in enumerate(endpoints, 1))
