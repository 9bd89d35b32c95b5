"""A pytest plugin, loaded with -p: starts one embedded PostgreSQL for the run before Django reads its settings."""

import os
from collections.abc import Iterator

import pytest

from migration_tools.testing.postgres import EmbeddedPostgres, fleeting_directory, provision

PORT = "STRANGLE_TEST_PG_PORT"
PASSWORD = "STRANGLE_TEST_PG_PASSWORD"
# Which PostgreSQL the run is on: 16 or 18 of the wheel, or one that Debian has installed (15).
VERSION = "STRANGLE_TEST_PG_VERSION"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Start the cluster once (xdist workers inherit it through the environment) and point the settings at it."""
    if PORT not in os.environ:
        version = int(os.environ.get(VERSION, "18"))
        server = EmbeddedPostgres(
            fleeting_directory(), version=version, options={"synchronous_commit": "off", "wal_level": "logical"}
        ).start()
        provision(server)
        os.environ[PORT] = str(server.port)
        os.environ[PASSWORD] = server.password
        globals()["_server"] = server
    for side in ("SHOP", "ORDERS"):
        os.environ[f"{side}_DB_HOST"] = "127.0.0.1"
        os.environ[f"{side}_DB_PORT"] = os.environ[PORT]
        os.environ[f"{side}_DB_NAME"] = side.lower()
        os.environ[f"{side}_DB_USER"] = "postgres"
        os.environ[f"{side}_DB_PASSWORD"] = os.environ[PASSWORD]
    os.environ.setdefault("SHOP_FAST_HASHER", "1")
    # The other contexts have tests of their own, which name them.
    os.environ.setdefault("STRANGLE_CONTEXTS", "orders")
    os.environ.setdefault("FEED_TOKEN_ORDERS", "tests-feed-token-orders")
    os.environ.setdefault("FEED_TOKEN_MONOLITH", "tests-feed-token-monolith")


@pytest.hookimpl(wrapper=True)
def pytest_unconfigure() -> Iterator[None]:
    """Stop the cluster that this process started."""
    result = yield
    server = globals().pop("_server", None)
    if server is not None:
        server.destroy()
    return result
