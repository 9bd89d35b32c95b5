"""What each proxy is told: pass everything on to one upstream, with one worker and keep-alive both ways."""

from pathlib import Path
from typing import Any

from migration_tools.routing.rules import ReadRule
from migration_tools.routing.table import ContextRoute, RoutingTable
from proxy.render_envoy import seconds

_TYPE = "type.googleapis.com/envoy"
CONTEXTS = ("accounts", "billing", "catalog", "invoices", "orders", "payments", "search", "stock")
BUCKET = "3f2a9c1e-77aa-4c1d-9d6e-0a1b2c3d4e5f"


def our_table() -> RoutingTable:
    """A strangler's table half-way: eight contexts, each with two rules, some shared, some moved."""
    contexts = {
        name: ContextRoute(
            paths=(f"/api/{name}", f"/{name}"),
            service="service",
            reads_percent=(0.0, 25.0, 100.0)[number % 3],
            writes="new" if number % 3 == 2 else "old",
            rules=(
                ReadRule(side="new", headers={"x-tenant": "pilot"}),
                ReadRule(side="old", path=f"/api/{name}/export", methods=("GET",)),
            ),
        )
        for number, name in enumerate(CONTEXTS)
    }
    return RoutingTable(version=1, contexts=contexts)


def bare_envoy(port: int, upstream: int) -> dict[str, Any]:
    """As little as Envoy needs to pass requests on."""
    cluster = {
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [{"max_connections": 4096, "max_pending_requests": 8192}]},
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [_endpoint(upstream)]}]},
    }
    return _envoy(port, {"route": {"cluster": "up", "timeout": seconds(30)}}, clusters=[cluster])


def answering_envoy(port: int) -> dict[str, Any]:
    """The upstream of everybody: 200 bytes at the speed of C++."""
    return _envoy(port, {"direct_response": {"status": 200, "body": {"inline_string": "x" * 200}}}, clusters=[])


def nginx(port: int, upstream: int, directory: Path) -> str:
    """One worker, keep-alive to the upstream, no log."""
    return f"""
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u;
  scgi_temp_path {directory}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


def haproxy(port: int, upstream: int) -> str:
    """One thread, keep-alive both ways, no log."""
    return f"""
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend front
  bind 127.0.0.1:{port}
  default_backend up
backend up
  server up 127.0.0.1:{upstream}
"""


def _endpoint(port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}


def _envoy(port: int, action: dict[str, Any], clusters: list[dict[str, Any]]) -> dict[str, Any]:
    router = f"{_TYPE}.extensions.filters.http.router.v3.Router"
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}]
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "front", "filter_chains": [{"filters": filters}], **_endpoint(port)["endpoint"]}
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}
