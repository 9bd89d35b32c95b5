"""A PgBouncer before the run's PostgreSQL, for the roles that the run has."""

from collections.abc import Iterator
from contextlib import contextmanager

from migration_tools.testing.poolers import EmbeddedPgBouncer
from tests.conftest import Cluster
from tests.integration.transport_rig import made

ROLES = ("postgres", "strangler", "shop_owner", "shop_app", "orders_owner", "orders_app")


@contextmanager
def pgbouncer(cluster: Cluster, *, mode: str = "transaction", size: int = 5) -> Iterator[int]:
    """Yields the port at which every database of the cluster can be had; `size` sessions a role and database."""
    roles = dict.fromkeys(ROLES, cluster.password)
    with made(lambda: EmbeddedPgBouncer(cluster.port, roles, mode=mode, size=size)) as pooler:
        yield pooler.port
