"""How one proxy runs: where it listens, which upstreams it knows, its limits; read from MIGRATION_TOOLS."""

import difflib
import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from migration_tools.conf import settings
from migration_tools.errors import RoutingError

# The kernel keeps a Unix socket's path in 108 bytes.
SOCKET_PATH_BYTES = 107


@dataclass(frozen=True, kw_only=True, order=True)
class Address:
    """An IP address and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class ProxyOptions:
    """Options of one proxy; the names in capitals in MIGRATION_TOOLS['PROXY'] are these."""

    directory: Path
    listen: Address = Address(host="127.0.0.1", port=8000)
    upstreams: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    proxy_id: str = ""
    envoy: str = ""
    concurrency: int = 1
    trusted_hops: int = 0
    allow_force_header: bool = False
    secure_cookies: bool = False
    upstream_idle_seconds: float = 1.5
    connect_timeout_seconds: float = 1.0
    request_headers_timeout_seconds: float = 10.0
    request_timeout_seconds: float = 60.0
    stream_idle_timeout_seconds: float = 300.0
    connection_idle_timeout_seconds: float = 60.0
    header_kilobytes: int = 32
    connections_maximum: int = 10_000
    drain_seconds: float = 2.0
    takeover_seconds: float = 60.0
    poll_seconds: float = 0.05
    confirm_seconds: float = 5.0
    shadow: Address | None = None
    user: str = ""

    @property
    def ids(self) -> tuple[int, int] | None:
        """User and group that Envoy runs as, where that is not the agent's own."""
        if not self.user:
            return None
        account = pwd.getpwnam(self.user)
        return None if account.pw_uid == os.geteuid() else (account.pw_uid, account.pw_gid)

    @property
    def name(self) -> str:
        """How this proxy signs what it reports."""
        return self.proxy_id or f"{socket.gethostname()}:{self.listen.port}"

    @property
    def admin_socket(self) -> Path:
        return self.directory / "admin.sock"

    @property
    def fence_socket(self) -> Path:
        return self.directory / "fence.sock"

    @property
    def parking_socket(self) -> Path:
        return self.directory / "park.sock"


def read_options(**overrides: Any) -> ProxyOptions:
    """Read MIGRATION_TOOLS['PROXY'] and ['UPSTREAMS']; overrides that are None are ignored.

    Raises:
        RoutingError: unknown options, or values that cannot be used; all at once.
    """
    conf = settings()
    known = {item.name.upper(): item.name for item in fields(ProxyOptions) if item.name != "upstreams"}
    mistakes = []
    values: dict[str, Any] = {}
    for key, value in conf.PROXY.items():
        if key in known:
            values[known[key]] = value
        else:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys are {sorted(known)}"
            mistakes.append(f"MIGRATION_TOOLS['PROXY'] has an unknown key {key!r}; {hint}")
    values |= {name: value for name, value in overrides.items() if value is not None}
    values["directory"] = Path(values.get("directory", "var/proxy")).absolute()
    if len(bytes(values["directory"] / "admin.sock")) > SOCKET_PATH_BYTES:
        mistakes.append(f"the directory {str(values['directory'])!r} is too long for sockets; use another")
    try:
        for name in ("listen", "shadow"):
            if isinstance(values.get(name), str):
                unset = name == "shadow" and not values[name]
                values[name] = None if unset else parse_address(values[name])
        values["upstreams"] = {name: parse_upstream(text) for name, text in conf.UPSTREAMS.items()}
    except RoutingError as error:
        mistakes.append(str(error))
    mistakes += _mistakes_of_user(str(values.get("user", "")))
    if mistakes:
        raise RoutingError("; ".join(mistakes))
    return ProxyOptions(**values)


def _mistakes_of_user(user: str) -> list[str]:
    if not user:
        return []
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return [f"MIGRATION_TOOLS['PROXY']['USER'] is {user!r}, whom this machine does not know"]
    if os.geteuid() not in (0, account.pw_uid):
        return [f"MIGRATION_TOOLS['PROXY']['USER'] is {user!r}, but only root can start Envoy as somebody else"]
    return []


def parse_upstream(text: str) -> tuple[Address, ...]:
    """One upstream's endpoints: `host:port`, or several separated by commas."""
    return tuple(parse_address(part.strip()) for part in text.split(","))


def parse_address(text: str) -> Address:
    """`host:port` as an IP address and a port; names are looked up, since endpoints must be addresses."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise RoutingError(f"the address {text!r} is not usable; write it as 'host:port'")
    try:
        return Address(host=str(ip_address(host)), port=int(port))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise RoutingError(f"the host of {text!r} has no address: {error}") from error
    # Prefer IPv4: development servers named localhost mostly listen there alone.
    *_, sockaddr = min(found, key=lambda item: item[0] != socket.AF_INET)
    return Address(host=str(sockaddr[0]), port=int(port))
