"""A rig for transport tests: brokers where their servers are installed, a port that never answers."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from migration_tools.testing.brokers import EmbeddedBroker


def made(kind: Callable[[], EmbeddedBroker]) -> EmbeddedBroker:
    """A broker, not started. Where its server is missing: a failure in CI, which installs it; elsewhere a skip."""
    try:
        return kind()
    except RuntimeError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{error} (.ci/run installs it)")


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield int(server.getsockname()[1])
