"""Envoy's listeners: the front with its hygiene of requests, and the fence that tells held writes to wait."""

from typing import Any

from migration_tools.routing.planes.target import SPOOFABLE, SPOOFABLE_WITHOUT_TRUSTED_PROXY
from proxy.options import ProxyOptions
from proxy.parking import PARK_SECONDS
from proxy.routes import FENCED_HEADER, FORCE_HEADER, PINNED_HEADER, ROUTES, WRITES_HEADER

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy"
_MUTATION = f"{_TYPE}.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
# What has a length of five digits.
SMALL_BODY = 100_000
_HCM = "envoy.filters.network.http_connection_manager"
PARKING = "strangler_parking"
SPOOFABLE_PREFIXES = ("x-strangler-", "x-sx-", "x-envoy-")


def front_listener(options: ProxyOptions) -> Json:
    """The listener clients talk to."""
    manager = {
        **_manager("front"),
        "rds": {
            "route_config_name": ROUTES,
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": {"path": str(options.directory / "rds.json")},
            },
        },
        # Paths are brought to one spelling first, so that //api/orders cannot miss its route.
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "common_http_protocol_options": {
            # WSGI cannot tell X_User from X-User.
            "headers_with_underscores_action": "REJECT_REQUEST",
            "idle_timeout": f"{options.connection_idle_timeout_seconds:.3f}s",
        },
        "max_request_headers_kb": options.header_kilobytes,
        "request_headers_timeout": f"{options.request_headers_timeout_seconds:.3f}s",
        "request_timeout": f"{options.request_timeout_seconds:.3f}s",
        "stream_idle_timeout": f"{options.stream_idle_timeout_seconds:.3f}s",
        "use_remote_address": True,
        "xff_num_trusted_hops": options.trusted_hops,
        "skip_xff_append": True,
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": True,
        # Trace bits written into the id would move a first visitor to another bucket than their cookie's.
        "request_id_extension": {
            "typed_config": {
                "@type": f"{_TYPE}.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
            }
        },
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": _MUTATION,
                    "mutations": _hygiene(options),
                },
            }
        ],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    }
    address = {"socket_address": {"address": options.listen.host, "port_value": options.listen.port}}
    return _listener("front", address, manager)


def fence_listener(options: ProxyOptions) -> Json:
    """The hold: a private socket on which Envoy answers itself "not now", which makes it try again.

    Note [cheap tries]. A try costs a third less when its connection is used again. For that the answer must not come
    before the request has ended, so small bodies are taken in first, and must have no body of its own, since Envoy
    resets whatever it has not heard to the end when it decides to try again. Large bodies are refused at once: each
    try would send all of it. Before it answers it asks the agent, which lets it wait; see Note [parking].
    """
    filters = "envoy.filters.http.buffer"
    buffer = f"{_TYPE}.extensions.filters.http.buffer.v3.Buffer"
    marks = [
        {"header": {"key": FENCED_HEADER, "value": "1"}},
        {"header": {"key": "retry-after", "value": "1"}},
    ]
    small = {"name": "content-length", "string_match": {"safe_regex": {"regex": "[0-9]{1,5}"}}}
    unread = {filters: {"@type": f"{buffer}PerRoute", "disabled": True}}
    said = {"status": 503, "body": {"inline_string": "writes are held for a moment\n"}}
    answers = [
        {"match": {"prefix": "/", "headers": [small]}, "direct_response": {"status": 503}},
        {"match": {"prefix": "/"}, "direct_response": said, "typed_per_filter_config": unread},
    ]
    host = {"name": "fence", "domains": ["*"], "response_headers_to_add": marks, "routes": answers}
    routes = {"name": "fence", "virtual_hosts": [host]}
    # A socket that is asked for meanwhile waits as well; without the upgrade it would be a 403 for good.
    manager = {**_manager("fence"), "route_config": routes, "upgrade_configs": [{"upgrade_type": "websocket"}]}
    taken_in = {"name": filters, "typed_config": {"@type": buffer, "max_request_bytes": SMALL_BODY}}
    manager["http_filters"] = [_wait_for_the_agent(), taken_in, *manager["http_filters"]]
    address = {"pipe": {"path": str(options.fence_socket), "mode": 0o600}}
    return _listener("fence", address, manager)


def parking_cluster(options: ProxyOptions) -> Json:
    """The agent's socket on which held writes wait."""
    address = {"pipe": {"path": str(options.parking_socket)}}
    limits = {"max_connections": 16_384, "max_pending_requests": 16_384, "max_requests": 16_384, "max_retries": 0}
    return {
        "name": PARKING,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": PARKING,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _wait_for_the_agent() -> Json:
    """Whatever the agent answers, or if it does not, the request goes on to the fence's "not now"."""
    return {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "http_service": {
                "server_uri": {"uri": f"http://{PARKING}", "cluster": PARKING, "timeout": f"{2 * PARK_SECONDS:.3f}s"}
            },
            "allowed_headers": {"patterns": [{"exact": name} for name in (WRITES_HEADER, PINNED_HEADER)]},
            "disallowed_headers": {"patterns": [{"exact": "authorization"}]},
            "failure_mode_allow": True,
        },
    }


def _hygiene(options: ProxyOptions) -> list[Json]:
    spoofable = SPOOFABLE if options.trusted_hops else SPOOFABLE + SPOOFABLE_WITHOUT_TRUSTED_PROXY
    force: list[Json] = []
    if options.allow_force_header:
        force = [_overwrite(FORCE_HEADER, "%REQ(X-STRANGLER-FORCE)%")]
    strangler, *others = ({"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in SPOOFABLE_PREFIXES)
    seen: list[Json] = []
    if not options.trusted_hops:
        # Overwritten here and not by the routes: whatever writes a header there costs more.
        seen = [
            _overwrite("x-forwarded-for", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
            _overwrite("x-forwarded-host", "%REQ(:AUTHORITY)%"),
        ]
    return [*({"remove": name} for name in spoofable), *others, *seen, *force, strangler]


def _overwrite(name: str, value: str) -> Json:
    return {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}


def _manager(name: str) -> Json:
    router = f"{_TYPE}.extensions.filters.http.router.v3.Router"
    return {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": router, "suppress_envoy_headers": True},
            }
        ],
    }


def _listener(name: str, address: Json, manager: Json) -> Json:
    return {
        "@type": f"{_TYPE}.config.listener.v3.Listener",
        "name": name,
        "address": address,
        "filter_chains": [{"filters": [{"name": _HCM, "typed_config": manager}]}],
    }
