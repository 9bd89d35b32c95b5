"""The same documents for an Envoy of yours, without the agent: watched fragments, and all in one static file."""

import json
from collections.abc import Mapping

from migration_tools.routing.table import RoutingTable
from proxy.options import read_options
from proxy.render_envoy import render
from proxy.validation import as_static


def files(table: RoutingTable, directory: str) -> Mapping[str, str]:
    """`cds`, `rds`, `lds` and one `eds_` file a cluster, to be watched in `directory`; `static.json` needs a restart.

    Raises:
        RoutingError: options or upstreams that cannot be used.
    """
    documents = render(table, read_options(directory=directory))
    found = {**documents.files(), "static.json": as_static(documents)}
    return {name: json.dumps(document, indent=1, sort_keys=True) + "\n" for name, document in found.items()}
