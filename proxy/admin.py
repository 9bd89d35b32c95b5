"""Envoy's admin interface on its private Unix socket, and what a running Envoy says about itself."""

import http.client
import json
import socket
from pathlib import Path

from proxy.options import Address
from proxy.render_envoy import address_text
from proxy.routes import VERSION_PATH

TIMEOUT_SECONDS = 2.0


class Admin:
    """Questions to one Envoy; each opens a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ready(self) -> bool:
        """Whether Envoy has its listeners, clusters and routes."""
        try:
            return self._ask("GET", "/ready")[0] == 200
        except OSError:
            return False

    def hosts(self) -> dict[str, set[str]]:
        """The hosts of every cluster, as the workers use them."""
        found = json.loads(self._ask("GET", "/clusters?format=json")[1])
        return {
            cluster["name"]: {address_text(host["address"]) for host in cluster.get("host_statuses", [])}
            for cluster in found.get("cluster_statuses", [])
        }

    def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose name matches; what was never used is missing."""
        found = json.loads(self._ask("GET", f"/stats?format=json&filter={pattern}")[1])
        return {item["name"]: item["value"] for item in found["stats"] if "name" in item}

    def histograms(self, pattern: str) -> dict[str, dict[float, int]]:
        """For each histogram whose name matches, how often each bucket was hit since Envoy started, by upper bound."""
        found = json.loads(self._ask("GET", f"/stats?format=json&histogram_buckets=disjoint&filter={pattern}")[1])
        return {
            item["name"]: {float(bucket["upper_bound"]): int(bucket["cumulative"]) for bucket in item["buckets"]}
            for stat in found["stats"]
            for item in stat.get("histograms", [])
        }

    def epoch(self) -> int:
        """How many Envoys have handed their sockets on before the one that answers; -1 when none does."""
        try:
            return int(json.loads(self._ask("GET", "/server_info")[1])["command_line_options"]["restart_epoch"])
        except (OSError, ValueError, KeyError):
            return -1

    def close_listeners(self) -> None:
        """Take no new connections; requests under way go on."""
        self._ask("POST", "/healthcheck/fail")
        self._ask("POST", "/drain_listeners?inboundonly=false")

    def _ask(self, method: str, url: str) -> tuple[int, bytes]:
        connection = UnixConnection(self.path)
        try:
            connection.request(method, url)
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise OSError(f"the admin socket answered nonsense: {error!r}") from error
        finally:
            connection.close()


def answered_marker(listen: Address) -> str:
    """The marker of the routes that requests are answered by; empty while nobody listens."""
    # Who listens on every address is asked on this machine's own.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, listen.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", VERSION_PATH)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        return text if response.status == 200 else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("admin", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(str(self._path))
