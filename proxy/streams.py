"""Long-lived sockets and event streams: each side's pass through a private listener, so that they can be ended.

Note [streams]. Envoy leaves a WebSocket or an event stream where it began, whatever the routes say later. So that a
hand-over can end those of one context and side, and of nobody else, they take one more hop: over a private socket of
the same Envoy, whose listener is taken away to drain them. What is still open `drain_seconds` later is cut; the clients
come back over the listener of the next generation, by the routes of that moment. A hop costs only what streams.
"""

import hashlib
from typing import Any

from migration_tools.routing.table import ContextRoute, RoutingTable, Side
from proxy.cluster_names import SIDES, read_cluster
from proxy.options import ProxyOptions

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy"

# What is a stream: an upgraded connection may write, an event stream only reads.
UPGRADE = {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}}
EVENTS = {"name": "accept", "string_match": {"prefix": "text/event-stream", "ignore_case": True}}


def hop_address(context: str, route: ContextRoute, side: Side, options: ProxyOptions) -> Json:
    """The hop's private socket; another one after every drain. Its name is short, as the kernel wants it."""
    text = f"{context} {side} {_generation(route, side)}"
    return {"pipe": {"path": str(options.directory / f"{hashlib.sha256(text.encode()).hexdigest()[:5]}.sock")}}


def listeners(table: RoutingTable, options: ProxyOptions) -> list[Json]:
    """Both hops of every context; `read_cluster` names where one leads."""
    return [
        {
            "@type": f"{_TYPE}.config.listener.v3.Listener",
            "name": f"{name}_stream_{side}_{_generation(route, side)}",
            "stat_prefix": f"{name}_stream_{side}",
            "address": {"pipe": {**hop_address(name, route, side, options)["pipe"], "mode": 0o600}},
            "filter_chains": [
                {
                    "filters": [
                        {
                            "name": "envoy.filters.network.tcp_proxy",
                            "typed_config": {
                                "@type": f"{_TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                                "stat_prefix": f"{name}_stream_{side}",
                                "cluster": read_cluster(name, side),
                            },
                        }
                    ]
                }
            ],
        }
        for name, route in sorted(table.contexts.items())
        for side in SIDES
    ]


def open_streams(stats: dict[str, int]) -> dict[str, dict[str, int]]:
    """How many streams are open by context and side, of Envoy's own statistics."""
    found: dict[str, dict[str, int]] = {}
    for name, value in stats.items():
        hop = name.removeprefix("listener.").removesuffix(".downstream_cx_active")
        context, _, side = hop.rpartition("_stream_")
        if context and value:
            found.setdefault(context, {})[side] = value
    return found


def _generation(route: ContextRoute, side: Side) -> int:
    return route.drains_old if side == "old" else route.drains_new
