"""Interleavings of two that provision one server: test runs' workers, or a demo's stack started twice."""

from concurrent.futures import ThreadPoolExecutor

from migration_tools.testing.postgres import provision
from tests.conftest import Cluster

ROUNDS = 20


def test_two_provision_one_side_at_once(cluster: Cluster) -> None:
    """Grants on one database by two sessions fail with "tuple concurrently updated" unless one waits for the other."""
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            both = [pool.submit(provision, cluster, ("shop", "orders")) for _ in range(2)]  # type: ignore[arg-type]
            for one in both:
                one.result()
