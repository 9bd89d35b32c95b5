"""Where a rendered data plane runs: its address, its directory, and the endpoints behind the names of upstreams."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from migration_tools.conf import settings
from migration_tools.errors import RoutingError
from migration_tools.kernel.planes import Plane
from migration_tools.routing.planes.capabilities import cannot
from migration_tools.routing.table import RoutingTable, parse_document, to_document

# Note [no way out of a rendered file]: configuration languages have no parameters, so nothing is quoted where it can be
# refused instead. Names, paths and values of a table are limited by its own validation, which every renderer runs
# again; what comes from settings is limited here. No character that ends a word, a string or a line is left.
_DIRECTORY = re.compile(r"/[A-Za-z0-9._/-]{0,200}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")

VERSION_PATH = "/.strangler/version"
# Headers by which a client could pose as a proxy, another host, another URL or the toolkit itself.
SPOOFABLE = ("forwarded", "proxy", "x-original-url", "x-rewrite-url", "x-real-ip", "x-request-id")
SPOOFABLE_WITHOUT_TRUSTED_PROXY = (
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-ssl",
)
# What applications read of ours; where a prefix cannot be stripped, these are.
OUR_HEADERS = ("x-strangler-user", "x-strangler-shadow", "x-strangler-force")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A host, as a name or an address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One data plane's surroundings; `directory` is where its files will be read from."""

    directory: str
    listen: Endpoint = Endpoint(host="127.0.0.1", port=8000)
    upstreams: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    trusted_hops: int = 0
    secure_cookies: bool = False

    def __post_init__(self) -> None:
        if not _DIRECTORY.fullmatch(self.directory):
            raise RoutingError(
                f"the directory {self.directory!r} is not usable in a configuration file; use an absolute path of "
                f"letters, digits and ._-"
            )

    @property
    def cookie_flags(self) -> str:
        """How our cookies end."""
        return "Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if self.secure_cookies else "")

    def file(self, name: str) -> str:
        """The path of one of its files."""
        return f"{self.directory.rstrip('/')}/{name}"


def read_target(directory: str) -> Target:
    """The target that MIGRATION_TOOLS['PROXY'] and ['UPSTREAMS'] describe.

    Raises:
        RoutingError: an address or the directory cannot be used.
    """
    conf = settings()
    return Target(
        directory=directory,
        listen=parse_endpoint(str(conf.PROXY.get("LISTEN", "127.0.0.1:8000"))),
        upstreams={
            name: tuple(parse_endpoint(part.strip()) for part in str(text).split(","))
            for name, text in conf.UPSTREAMS.items()
        },
        trusted_hops=int(conf.PROXY.get("TRUSTED_HOPS", 0)),
        secure_cookies=bool(conf.PROXY.get("SECURE_COOKIES", False)),
    )


def parse_endpoint(text: str) -> Endpoint:
    """
    Raises:
        RoutingError: it is not `host:port`.
    """
    host, _, port = text.rpartition(":")
    if not _HOST.fullmatch(host) or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise RoutingError(f"the address {text!r} is not usable; write it as 'host:port'")
    return Endpoint(host=host, port=int(port))


def checked(table: RoutingTable, target: Target, plane: Plane, *, allow_unsticky: bool = False) -> RoutingTable:
    """The table, validated again and within what the plane can do; see Note [no way out of a rendered file].

    Raises:
        RoutingError: with every reason why it cannot be rendered.
    """
    again = parse_document(to_document(table), version=table.version)
    needed = {again.default} | {up for route in again.contexts.values() for up in (route.old, route.service)}
    mistakes = [
        f"the upstream {name!r} is not in MIGRATION_TOOLS['UPSTREAMS'], which has {sorted(target.upstreams)}"
        for name in sorted(needed - set(target.upstreams))
    ]
    for name, route in sorted(again.contexts.items()):
        mistakes += [f"{name}: {text}" for text in cannot(plane, route, allow_unsticky=allow_unsticky)]
    if mistakes:
        raise RoutingError("; ".join(mistakes))
    return again
