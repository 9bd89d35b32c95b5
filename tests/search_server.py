"""A server that speaks OpenSearch's API, in memory, for tests: osmem-server, or what ELASTICSEARCH_URL names.

osmem-server is neither Elasticsearch nor OpenSearch. What it cannot show: shards and replicas, a cluster's elections,
what is durable, users and rights, and where the two differ from what it takes after.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen

import osmem_server

from migration_tools.testing.brokers import EmbeddedBroker


class EmbeddedSearch(EmbeddedBroker):
    """osmem-server on 127.0.0.1, ended with the process that started it; a restart forgets everything."""

    name = "osmem"

    def url_at(self, port: int) -> str:
        """The store's URL."""
        return f"http://127.0.0.1:{port}"

    def _launch(self) -> Popen[bytes]:
        return self._spawn(
            [
                osmem_server.resolve_binary(),
                *("-addr", f"127.0.0.1:{self.port}"),
                *("-parent-pid", str(os.getpid())),
                "-no-stdin-watch",
            ]
        )

    def _answers(self) -> bool:
        return self._exchange(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1")


@contextmanager
def search_url() -> Iterator[str]:
    """The URL of the server that ELASTICSEARCH_URL names, else of one for the block alone."""
    named = os.environ.get("ELASTICSEARCH_URL")
    if named:
        yield named
        return
    with EmbeddedSearch() as server:
        yield server.url
