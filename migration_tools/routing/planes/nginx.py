"""Render a routing table for nginx: shares by its own hash, flips by a reload; it cannot hold a write."""

import hashlib
import json
from collections.abc import Iterator

from migration_tools.kernel.planes import Plane
from migration_tools.routing.planes.target import (
    OUR_HEADERS,
    SPOOFABLE,
    SPOOFABLE_WITHOUT_TRUSTED_PROXY,
    VERSION_PATH,
    Target,
    checked,
)
from migration_tools.routing.rules import READING, ReadRule
from migration_tools.routing.table import BUCKET_COOKIE, BUCKETS, ContextRoute, RoutingTable, pin_cookie, to_document

BUCKET_SECONDS = 365 * 86_400
PIN_SECONDS = 2
SECONDS_MAXIMUM = 2_000_000

MAIN, SITE = "nginx.conf", "strangler.conf"

# Note [words of nginx]: every value is within double quotes, and matched by a regular expression: plain words of a map
# ignore case, and some of them ("default", "include") are commands. Characters that a regular expression would read
# otherwise stand in brackets, so that no backslash is needed.


def render(table: RoutingTable, target: Target) -> dict[str, str]:
    """Its files by name: `strangler.conf` belongs into an `http` block, `nginx.conf` is one that only includes it.

    Writes that the table holds are refused with 503 and Retry-After.

    Raises:
        RoutingError: with every reason why nginx cannot answer by this table.
    """
    table = checked(table, target, Plane.NGINX)
    marker = hashlib.sha256(json.dumps(to_document(table), sort_keys=True).encode()).hexdigest()[:16]
    lines = [
        "# Made by strangle_route render; change the routing table, not this file.",
        "map_hash_bucket_size 512;",
        "variables_hash_max_size 4096;",
        *_upstreams(table, target),
        f'map $request_method $sx_reading {{ default 0; "~^({"|".join(READING)})$" 1; }}',
        f'map $cookie_{BUCKET_COOKIE} $sx_key {{ default $cookie_{BUCKET_COOKIE}; "" $request_id; }}',
    ]
    for name, route in sorted(table.contexts.items()):
        lines += _decision(name, route, target)
    return {SITE: "\n".join([*lines, *_server(table, target, marker)]) + "\n", MAIN: _main(target)}


def share_percent(route: ContextRoute) -> float:
    """The share as nginx has it: hundredths of a percent, and a share above 0 or below 100 stays so."""
    if route.reads_weight in (0, BUCKETS):
        return 100.0 if route.reads_weight else 0.0
    return min(max(round(route.reads_percent, 2), 0.01), 99.99)


def _main(target: Target) -> str:
    return "\n".join(
        [
            "# Made by strangle_route render: the smallest nginx that answers by the routing table.",
            f"pid {target.file('nginx.pid')};",
            f"error_log {target.file('error.log')} warn;",
            "events { worker_connections 4096; }",
            "http {",
            "    access_log off;",
            *(
                f"    {kind}_temp_path {target.file(kind)};"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            ),
            f"    include {target.file(SITE)};",
            "}\n",
        ]
    )


def _upstreams(table: RoutingTable, target: Target) -> Iterator[str]:
    used = {table.default} | {up for route in table.contexts.values() for up in (route.old, route.service)}
    for name in sorted(used):
        servers = " ".join(f"server {endpoint};" for endpoint in target.upstreams[name])
        yield f"upstream sx_up_{name} {{ {servers} }}"


def _decision(name: str, route: ContextRoute, target: Target) -> Iterator[str]:
    """`$sx_<context>` is the side of a request; the order is the proxy's: who has just written, rules, share."""
    own = f"sx_{name}"
    percent = share_percent(route)
    if percent in (0.0, 100.0):
        yield f'map "" ${own}_share {{ default {"new" if percent else "old"}; }}'
    else:
        yield f"split_clients $sx_key ${own}_share {{ {percent:.2f}% new; * old; }}"
    yield f'map $cookie_{pin_cookie(name)} ${own}_pinned {{ default 0; "~^1$" 1; }}'
    for number, rule in enumerate(route.rules, 1):
        yield from _rule(f"{own}_rule{number}", rule)
    asked = ":".join(f"${own}_rule{number}" for number in range(1, len(route.rules) + 1))
    yield f'map "$sx_reading${own}_pinned:{asked}:${own}_share" ${own} {{'
    # The first side named after the colons is the first rule's that matched, or the share's.
    yield f'    default {route.writes_owner}; "~^10:+new" new; "~^10:+old" old;'
    yield "}"
    yield f"map ${own} ${own}_upstream {{ default sx_up_{route.old}; new sx_up_{route.service}; }}"
    yield f"map $sx_reading ${own}_refused {{ default 0; 0 {int(route.writes == 'hold')}; }}"
    yield f'map ${own}_refused ${own}_retry {{ default ""; 1 1; }}'
    first = f"{BUCKET_COOKIE}=$request_id; Max-Age={BUCKET_SECONDS}; {target.cookie_flags}"
    shared = f'"~^1:$" "{first}";' if 0 < percent < 100 else ""
    yield f'map "$sx_reading:$cookie_{BUCKET_COOKIE}" ${own}_first {{ default ""; {shared} }}'
    pin = f"{pin_cookie(name)}=1; Max-Age={PIN_SECONDS}; {target.cookie_flags}"
    yield f'map $sx_reading ${own}_pin {{ default ""; 0 "{pin}"; }}'


def _rule(variable: str, rule: ReadRule) -> Iterator[str]:
    conditions = [("$request_method", f"({'|'.join(rule.methods or READING)})")]
    if rule.path:
        conditions.append(("$uri", f"{_plain(rule.path)}(/.*)?"))
    conditions += [(f"$http_{header.replace('-', '_')}", _plain(value)) for header, value in rule.headers.items()]
    for number, (source, pattern) in enumerate(conditions):
        yield f'map {source} ${variable}_{number} {{ default 0; "~^{pattern}$" 1; }}'
    cookies = list(rule.all_cookies().items())
    for number, (cookie, value) in enumerate(cookies, len(conditions)):
        pattern = f"(^|;) *{_plain(cookie)}={_plain(value)} *(;|$)"
        yield f'map $http_cookie ${variable}_{number} {{ default 0; "~{pattern}" 1; }}'
    count = len(conditions) + len(cookies)
    asked = "".join(f"${variable}_{number}" for number in range(count))
    yield f'map "{asked}" ${variable} {{ default ""; "~^{"1" * count}$" {rule.side}; }}'


def _plain(text: str) -> str:
    """A pattern that matches this text alone; see Note [words of nginx]."""
    return "".join(char if char.isalnum() or char in "/_-=:@!&',~" else f"[{char}]" for char in text)


def _server(table: RoutingTable, target: Target, marker: str) -> Iterator[str]:
    yield "server {"
    yield f"    listen {target.listen};"
    yield "    server_name _;"
    yield "    ignore_invalid_headers on;"
    yield "    underscores_in_headers off;"
    yield "    client_max_body_size 0;"
    yield "    client_header_timeout 10s;"
    yield "    proxy_http_version 1.1;"
    yield '    proxy_set_header Connection "";'
    yield "    proxy_set_header Host $host;" if not target.trusted_hops else "    proxy_set_header Host $http_host;"
    for header in (*SPOOFABLE, *OUR_HEADERS):
        yield f'    proxy_set_header {header} "";'
    if not target.trusted_hops:
        for header in SPOOFABLE_WITHOUT_TRUSTED_PROXY:
            yield f"    proxy_set_header {header} {_FORWARDED.get(header, _NOTHING)};"
    yield "    proxy_hide_header x-strangler-fenced;"
    yield f"    location = {VERSION_PATH} {{ default_type text/plain; return 200 {marker}; }}"
    for name, route in sorted(table.contexts.items()):
        for path in route.paths:
            yield f'    location = "{path}" {{ {" ".join(_location(name, route))} }}'
            yield f'    location ^~ "{path}/" {{ {" ".join(_location(name, route))} }}'
    yield f"    location / {{ proxy_pass http://sx_up_{table.default}; }}"
    yield "}"


_NOTHING = '""'
_FORWARDED = {"x-forwarded-for": "$remote_addr", "x-forwarded-proto": "$scheme", "x-forwarded-host": "$http_host"}


def _location(name: str, route: ContextRoute) -> Iterator[str]:
    own = f"sx_{name}"
    seconds = min(max(round(max(route.write_timeout_seconds, route.read_timeout_seconds)), 1), SECONDS_MAXIMUM)
    yield f"add_header Set-Cookie ${own}_first always; add_header Set-Cookie ${own}_pin always;"
    yield f"add_header Retry-After ${own}_retry always; if (${own}_refused) {{ return 503; }}"
    yield f"proxy_read_timeout {seconds}s; proxy_pass http://${own}_upstream;"
