"""Render a routing table and options into Envoy's documents, one per file it watches."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from migration_tools.errors import RoutingError
from migration_tools.routing.table import ContextRoute, RoutingTable
from proxy import cluster_names, http_edge, routes, streams
from proxy.options import Address, ProxyOptions

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy"
# Upper bounds of the answer times that Envoy counts, in milliseconds.
LATENCY_BOUNDS_MS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 2_000, 5_000, 60_000)


@dataclass(frozen=True, kw_only=True)
class Documents:
    """What Envoy is told: endpoints by service name, clusters, routes, listeners, and its start-up file."""

    bootstrap: Json
    endpoints: dict[str, Json]
    clusters: list[Json]
    routes: Json
    listeners: list[Json]
    marker: str

    @property
    def listeners_file(self) -> str:
        """The file of the listeners, as the bootstrap names it."""
        path = str(self.bootstrap["dynamic_resources"]["lds_config"]["path_config_source"]["path"])
        return path.rpartition("/")[2]

    @property
    def shape(self) -> str:
        """Digest of all but the endpoints: what a flip of writes leaves as it is."""
        return digest([self.bootstrap, self.clusters, self.routes, self.listeners])

    def keeping_clusters_of(self, before: "Documents | None") -> "Documents":
        """These documents with the clusters that only `before` had; themselves when there are none."""
        names = {cluster["name"] for cluster in self.clusters}
        left = [cluster for cluster in before.clusters if cluster["name"] not in names] if before else []
        if before is None or not left:
            return self
        endpoints = {**before.endpoints, **self.endpoints}
        return replace(self, clusters=[*self.clusters, *left], endpoints=endpoints)

    def hosts(self) -> dict[str, set[str]]:
        """For each cluster, the hosts it must have: what a flip of endpoints is confirmed by."""
        return {
            cluster["name"]: {
                address_text(item["endpoint"]["address"])
                for item in self.assignment(cluster)["endpoints"][0]["lb_endpoints"]
            }
            for cluster in self.clusters
        }

    def assignment(self, cluster: Json) -> Json:
        """A cluster's endpoints, wherever they stand."""
        found: Json = cluster.get("load_assignment") or self.endpoints[cluster["name"]]
        return found

    @property
    def watches(self) -> int:
        """How many watches an Envoy needs for these files, each an inotify instance of its user."""
        return len(self.endpoints) + len(("clusters", "routes", "listeners"))

    def files(self) -> dict[str, Json]:
        """File name to content, in the order in which they may be replaced; see Note [order of files]."""
        # Note [order of files]: endpoints first, then the clusters that name them, then the routes that name
        # clusters, then the listeners: nothing ever refers to what Envoy does not know yet.
        watched: dict[str, Json] = {
            f"eds_{name}.json": {"resources": [endpoints]} for name, endpoints in self.endpoints.items()
        }
        watched["cds.json"] = {"resources": self.clusters}
        watched["rds.json"] = {"resources": [self.routes]}
        watched[self.listeners_file] = {"resources": self.listeners}
        watched["envoy.json"] = self.bootstrap
        return watched


def render(table: RoutingTable, options: ProxyOptions) -> Documents:
    """
    Raises:
        RoutingError: the table names an upstream that UPSTREAMS does not, or two clusters share a name.
    """
    _check(table, options)
    plain = routes.route_configuration(table, options, marker="")
    marker = digest(plain)[:16]
    front = http_edge.front_listener(options)
    return Documents(
        bootstrap=_bootstrap(options, front),
        endpoints=_endpoints(table, options),
        clusters=list(_clusters(table, options)),
        routes=routes.route_configuration(table, options, marker=marker),
        listeners=[front, http_edge.fence_listener(options), *streams.listeners(table, options)],
        marker=marker,
    )


def address_text(address: Json) -> str:
    """An address of Envoy's JSON, here and in its admin answers, as one string."""
    if "pipe" in address:
        return str(address["pipe"]["path"])
    found = address["socket_address"]
    return f"{found['address']}:{found['port_value']}"


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _check(table: RoutingTable, options: ProxyOptions) -> None:
    needed = {table.default: "the default"}
    for name, route in table.contexts.items():
        needed |= {route.old: f"{name}.old", route.service: f"{name}.service"}
    mistakes = [
        f"{where} is the upstream {upstream!r}, which MIGRATION_TOOLS['UPSTREAMS'] does not name"
        for upstream, where in needed.items()
        if upstream not in options.upstreams
    ]
    mistakes += [
        f"{name} is shadowed, but MIGRATION_TOOLS['PROXY']['SHADOW'] does not say where the comparator listens"
        for name, route in table.contexts.items()
        if route.shadow_percent and options.shadow is None
    ]
    clusters = [cluster for name in table.contexts for cluster in cluster_names.of_context(name)]
    clusters.append(cluster_names.shadow_cluster())
    if table.default in clusters:
        mistakes.append(f"the upstream {table.default!r} has the name of a context's cluster; rename it")
    if mistakes:
        raise RoutingError("; ".join(mistakes))


def _endpoints(table: RoutingTable, options: ProxyOptions) -> dict[str, Json]:
    """Only of what changes hands without new routes: each file costs a watch; see Note [watches]."""
    found = {}
    for name, route in sorted(table.contexts.items()):
        cluster = cluster_names.write_cluster(name)
        found[cluster] = _assignment(cluster, _write_endpoints(route, options))
        sockets = cluster_names.socket_cluster(name)
        held = route.writes == "hold"
        found[sockets] = _assignment(
            sockets,
            _write_endpoints(route, options)
            if held
            else [streams.hop_address(name, route, route.writes_owner, options)],
        )
    return found


def _write_endpoints(route: ContextRoute, options: ProxyOptions) -> list[Json]:
    # A hold points writes at Envoy's own socket, which answers "try again"; no endpoints would be an error.
    if route.writes == "hold":
        return [{"pipe": {"path": str(options.fence_socket)}}]
    return _sockets(options.upstreams[route.upstream(route.writes)])


def _sockets(addresses: tuple[Address, ...]) -> list[Json]:
    return [{"socket_address": {"address": item.host, "port_value": item.port}} for item in addresses]


def _assignment(name: str, addresses: list[Json]) -> Json:
    return {
        "@type": f"{_TYPE}.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}} for address in addresses]}],
    }


def _clusters(table: RoutingTable, options: ProxyOptions) -> Iterator[Json]:
    def at(upstream: str) -> list[Json]:
        return _sockets(options.upstreams[upstream])

    yield _cluster(table.default, options, at(table.default))
    for name, route in sorted(table.contexts.items()):
        yield _cluster(cluster_names.write_cluster(name), options)
        yield _cluster(cluster_names.read_cluster(name, "old"), options, at(route.old))
        yield _cluster(cluster_names.read_cluster(name, "new"), options, at(route.service))
        # One request a connection at the hop of streams, so that open connections are open streams.
        for side in cluster_names.SIDES:
            hop = [streams.hop_address(name, route, side, options)]
            yield _cluster(cluster_names.stream_cluster(name, side), options, hop, requests_a_connection=1)
        yield _cluster(cluster_names.socket_cluster(name), options, requests_a_connection=1)
    if options.shadow is not None:
        cluster = _cluster(cluster_names.shadow_cluster(), options, _sockets((options.shadow,)))
        # A comparator that hangs may hold so many copies and no more; what is beyond is dropped, and no reader waits.
        limits = {"max_connections": 32, "max_pending_requests": 32, "max_requests": 64, "max_retries": 0}
        yield {**cluster, "circuit_breakers": {"thresholds": [limits]}}


def _cluster(
    name: str,
    options: ProxyOptions,
    addresses: list[Json] | None = None,
    *,
    requests_a_connection: int = 0,
) -> Json:
    """A cluster at these addresses; without any, at those that its own watched file names."""
    once = {"max_requests_per_connection": requests_a_connection} if requests_a_connection else {}
    limits = {
        "max_connections": 4096,
        "max_pending_requests": 8192,
        "max_requests": 16_384,
        # The default of 3 answers 503 to the fourth held write.
        "max_retries": 100_000,
    }
    protocol = f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"
    where: Json
    if addresses is None:
        where = {
            "type": "EDS",
            "eds_cluster_config": {"service_name": name, "eds_config": _file(options, f"eds_{name}.json")},
        }
    else:
        assignment = {key: value for key, value in _assignment(name, addresses).items() if key != "@type"}
        where = {"type": "STATIC", "load_assignment": assignment}
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": name,
        **where,
        "connect_timeout": seconds(options.connect_timeout_seconds),
        # Without it a removed host keeps its share of the writes for as long as it is healthy.
        "ignore_health_on_host_removal": True,
        "circuit_breakers": {"thresholds": [limits]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": protocol,
                # Below the application server's keep-alive, or it closes a connection under a reused POST.
                "common_http_protocol_options": {"idle_timeout": seconds(options.upstream_idle_seconds), **once},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _bootstrap(options: ProxyOptions, front: Json) -> Json:
    # A changed front changed in place would cut, after the drain of streams, what is under way on it. With another
    # name it is another start option instead, for which another Envoy takes over; see Note [takeover].
    listeners = f"lds_{digest(front)[:8]}.json"
    connections = "envoy.resource_monitors.global_downstream_max_connections"
    limit = f"{_TYPE}.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return {
        "node": {"id": options.name, "cluster": "strangler"},
        "admin": {"address": {"pipe": {"path": str(options.admin_socket), "mode": 0o600}}},
        # Histograms are merged when they are asked for, so that a ramp judges by what has just happened.
        "stats_flush_on_admin": True,
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"suffix": "upstream_rq_time"}, "buckets": list(LATENCY_BOUNDS_MS)},
            ]
        },
        "static_resources": {"clusters": [http_edge.parking_cluster(options)]},
        "dynamic_resources": {
            "lds_config": _file(options, listeners),
            "cds_config": _file(options, "cds.json"),
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": connections,
                    "typed_config": {
                        "@type": limit,
                        "max_active_downstream_connections": options.connections_maximum,
                    },
                }
            ]
        },
    }


def _file(options: ProxyOptions, name: str) -> Json:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(options.directory / name)}}


def seconds(value: float) -> str:
    """A duration as Envoy's JSON spells it."""
    return f"{value:.3f}s"
