"""The three services, once for a module; tests use articles, accounts and orders of their own."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Cluster
from tests.sagas import tables
from tests.sagas.world import World, opened


@pytest.fixture(scope="module")
def services_of_the_shop(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[World]:
    """Three services on three databases."""
    with opened(cluster, templates[1], django_db_blocker) as made:
        yield made


@pytest.fixture
def world(services_of_the_shop: World) -> Iterator[World]:
    """The same, with nothing that is to fail left over."""
    tables.trouble.clear()
    yield services_of_the_shop
    tables.trouble.clear()
