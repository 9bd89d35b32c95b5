"""The routing table on other data planes: rendered into files, or followed by a running HAProxy."""

import importlib
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.db import Error, connections

from migration_tools.conf import settings
from migration_tools.errors import RoutingError
from migration_tools.kernel.planes import Plane
from migration_tools.management.signals import heed_signals
from migration_tools.routing import publishing
from migration_tools.routing.planes import gateway_api, haproxy, nginx
from migration_tools.routing.planes.capabilities import capabilities, markdown_table
from migration_tools.routing.planes.haproxy_follower import Follower
from migration_tools.routing.planes.target import read_target
from migration_tools.routing.planes.writing import write_files
from migration_tools.routing.table import RoutingTable

TARGETS = tuple(plane.value for plane in Plane if plane is not Plane.OWN_ENVOY)
Options = dict[str, Any]


def render_files(table: RoutingTable, options: Options) -> Mapping[str, str]:
    """The files of a data plane by name.

    Raises:
        RoutingError: what it cannot do of this table, all at once.
    """
    directory = str(Path(options["directory"] or settings().PROXY.get("DIRECTORY", "var/proxy")).absolute())
    match options["target"]:
        case Plane.HAPROXY:
            return haproxy.render(table, read_target(directory)).files
        case Plane.NGINX:
            return nginx.render(table, read_target(directory))
        case Plane.GATEWAY_API:
            routes = gateway_api.render(
                table, read_target(directory), gateway=options["gateway"], allow_unsticky=options["allow_unsticky"]
            )
            document = {"apiVersion": "v1", "kind": "List", "items": routes}
            return {"httproutes.json": json.dumps(document, indent=2) + "\n"}
        case _:
            return _envoy(table, directory)


def render(options: Options) -> str:
    """Render the current table; into files with --directory, else as text. What is returned is to be printed."""
    as_json = options["format"] == "json"
    if options["capabilities"]:
        able = {plane.value: asdict(capabilities(plane)) for plane in Plane}
        return json.dumps(able, indent=2) if as_json else markdown_table()
    if not options["target"]:
        raise RoutingError(f"name a data plane: --target {'|'.join(TARGETS)}, or ask what they can do: --capabilities")
    table = publishing.current()
    files = render_files(table, options)
    if options["directory"]:
        changed = write_files(str(Path(options["directory"]).absolute()), files)
        if as_json:
            return json.dumps({"version": table.version, "changed": changed}, indent=2)
        return f"version {table.version}, {len(changed)} of {len(files)} files changed: {', '.join(changed) or 'none'}"
    if as_json:
        return json.dumps({"version": table.version, "files": dict(files)}, indent=2)
    if len(files) == 1:
        return "".join(files.values()).rstrip("\n")
    return "\n".join(f"# ---- {name}\n{content}" for name, content in files.items()).rstrip("\n")


def follow(options: Options) -> None:
    """Keep a running HAProxy at the current table until SIGTERM or SIGINT.

    It says no goodbye: HAProxy goes on by what it has, and a hand-over must not start while nobody can hold it.
    """
    stop = threading.Event()
    target = read_target(str(Path(options["directory"]).absolute()))
    proxy = str(settings().PROXY.get("PROXY_ID", "")) or f"{socket.gethostname()}:{target.listen.port}"
    reader = publishing.TableReader()

    def source() -> RoutingTable:
        try:
            return reader()
        except Error:
            connections[settings().DATABASE].close()
            raise

    def report(values: Mapping[str, str | int | None]) -> None:
        try:
            publishing.report_proxy(proxy, values)
        except Error:
            connections[settings().DATABASE].close()
            raise

    at = Path(options["socket"]) if options["socket"] else None
    with heed_signals(stop):
        Follower(target=target, source=source, report=report, socket=at, stop=stop).run()


def _envoy(table: RoutingTable, directory: str) -> Mapping[str, str]:
    try:
        # The proxy is an application beside the toolkit and not in its wheel, so it is named at run time.
        own_envoy = importlib.import_module("proxy.own_envoy")
    except ModuleNotFoundError as error:
        raise RoutingError(
            f"the proxy application cannot be imported: {error}; run the command in the checkout that holds proxy/"
        ) from error
    found: Mapping[str, str] = own_envoy.files(table, directory)
    return found
