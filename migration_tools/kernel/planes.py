"""The data planes by name: the setting DATA_PLANE and the targets of `strangle_route render` speak of these."""

from enum import StrEnum


class Plane(StrEnum):
    """Who answers by the routing table."""

    ENVOY = "envoy"  # one Envoy driven by strangle_proxy, which confirms every change
    OWN_ENVOY = "own-envoy"  # an Envoy of yours that reads rendered files
    HAPROXY = "haproxy"  # one HAProxy kept by strangle_route follow, which confirms every change
    NGINX = "nginx"
    GATEWAY_API = "gateway-api"
