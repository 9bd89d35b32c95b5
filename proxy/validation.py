"""Ask Envoy itself whether documents are right, before any of them is published."""

import json
import re
import subprocess
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

from migration_tools.errors import RoutingError
from proxy.render_envoy import Documents

Json = dict[str, Any]

TIMEOUT_SECONDS = 30.0


class RejectedByEnvoy(RoutingError):
    """Envoy does not accept the documents; `reason` is its own sentence."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"envoy rejects the routes: {reason}; the last good ones stay in force")


def validate(documents: Documents, *, binary: Path, directory: Path) -> None:
    """
    Raises:
        RejectedByEnvoy: with Envoy's reason.
    """
    with tempfile.NamedTemporaryFile("w", dir=directory, prefix=".validate.", suffix=".json") as file:
        json.dump(as_static(documents), file)
        file.flush()
        command = [str(binary), "--mode", "validate", "--disable-hot-restart", "-l", "error", "-c", file.name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise RejectedByEnvoy(f"no verdict after {TIMEOUT_SECONDS:g} s") from error
    if done.returncode != 0:
        raise RejectedByEnvoy(_reason(done.stderr or done.stdout))


def as_static(documents: Documents) -> Json:
    """The same configuration in one file: `--mode validate` does not read watched files."""
    bootstrap = deepcopy(documents.bootstrap)
    del bootstrap["dynamic_resources"], bootstrap["admin"]
    listeners, clusters = deepcopy(documents.listeners), deepcopy(documents.clusters)
    for listener in listeners:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        if manager.pop("rds", None):
            manager["route_config"] = _untyped(documents.routes)
    for cluster in clusters:
        cluster.pop("eds_cluster_config", None)
        cluster["type"] = "STATIC"
        cluster["load_assignment"] = _untyped(documents.assignment(cluster))
    own = bootstrap["static_resources"]
    own["listeners"] = [_untyped(listener) for listener in listeners]
    own["clusters"] += [_untyped(cluster) for cluster in clusters]
    return bootstrap


def _untyped(resource: Json) -> Json:
    return {key: value for key, value in resource.items() if key != "@type"}


def _reason(text: str) -> str:
    """Envoy's own sentence: it prints the whole message it refuses, and why on the last line."""
    said = re.split(r"error initializing configuration '[^']*': ", text)[-1].strip() or "no reason given"
    return said.splitlines()[-1].split(" | caused by ")[-1].lstrip(": ").rstrip(")")[:2000]
