"""The MongoDB of tests: the one that MONGODB_URL names, else a server that speaks its protocol."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from migration_tools.testing.mongodb import EmbeddedMongo


@contextmanager
def mongodb_url() -> Iterator[str]:
    """The URL of the server that MONGODB_URL names, else of one for the block alone."""
    named = os.environ.get("MONGODB_URL")
    if named:
        yield named
        return
    with EmbeddedMongo() as server:
        yield server.url
