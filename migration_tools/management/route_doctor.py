"""What may be wrong around the routing table, each finding with the command or the change that mends it."""

import socket
from collections.abc import Iterator

from django.conf import settings as django_settings

from migration_tools.conf import settings
from migration_tools.management.route_changes import fenced_owner
from migration_tools.routing import edge_settings, publishing
from migration_tools.routing.planes.capabilities import capabilities
from migration_tools.routing.table import RoutingTable

MIDDLEWARE = "migration_tools.routing.middleware.FenceMiddleware"
STRICT = "migration_tools.routing.middleware.StrictFenceMiddleware"
OWN_WRITES = "migration_tools.routing.own_writes.middleware.OwnWritesMiddleware"
CONNECT_SECONDS = 2.0


def examine() -> list[str]:
    """Findings in sentences; empty when nothing is wrong."""
    table = publishing.current()
    return [*_proxies(table), *_writes(table), *_upstreams(table), *_middleware(), *_settings()]


def _proxies(table: RoutingTable) -> Iterator[str]:
    proxies = publishing.live_proxies()
    confirms = capabilities(settings().DATA_PLANE).confirms
    if table.version and not proxies and confirms:
        yield f"no proxy has reported within 5 s; start {confirms}"
    yield from publishing.silent_proxies()
    for row in proxies:
        if row.rejected_reason:
            yield (
                f"proxy {row.proxy!r} refuses version {row.rejected_version}: {row.rejected_reason}; go back with "
                f"strangle_route rollback"
            )
        elif (row.applied_version or 0) < table.version:
            yield f"proxy {row.proxy!r} answers by version {row.applied_version or 0}, not {table.version}; see its log"


def _writes(table: RoutingTable) -> Iterator[str]:
    for name, route in sorted(table.contexts.items()):
        owner = fenced_owner(name)
        if route.writes == "hold":
            yield (
                f"writes of {name!r} are held since {route.held_at}; a hand-over is under way or was cut off: run its "
                f"command again, or strangle_route release {name}"
            )
        elif owner is not None and owner != route.writes:
            yield (
                f"writes of {name!r} go to the {route.writes} side, but the fence lets the {owner} side write; run "
                f"strangle_route set {name} writes={owner}"
            )


def _upstreams(table: RoutingTable) -> Iterator[str]:
    known = settings().UPSTREAMS
    wanted = {table.default} | {upstream for r in table.contexts.values() for upstream in (r.old, r.service)}
    for name in sorted(wanted):
        if name not in known:
            yield f"the upstream {name!r} is not in MIGRATION_TOOLS['UPSTREAMS'], which has {sorted(known)}"
            continue
        for text in str(known[name]).split(","):
            host, _, port = text.strip().rpartition(":")
            try:
                with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
                    pass
            except (OSError, ValueError) as error:
                yield f"the upstream {name!r} at {text.strip()!r} does not answer: {error}; start it"


def _middleware() -> Iterator[str]:
    if not {MIDDLEWARE, STRICT} & set(django_settings.MIDDLEWARE):
        yield f"{MIDDLEWARE!r} is not in MIDDLEWARE, so a write that meets the fence is an error page; add it"
    if OWN_WRITES not in django_settings.MIDDLEWARE:
        yield (
            f"{OWN_WRITES!r} is not in MIDDLEWARE, so who writes may miss it after 2 s when the other side is behind; "
            "add it"
        )


def _settings() -> Iterator[str]:
    yield from (f"{mistake.text}; {mistake.hint}" for mistake in edge_settings.find_mistakes())
