"""The example shop's checkouts at random over real databases; `make chaos-sagas RUNS=10000` plays as many as asked."""

import os
from collections.abc import Iterator

import pytest

from migration_tools.testing.postgres import EmbeddedPostgres
from tests.sagas import storm_audit
from tests.sagas.storm import KINDS, Storm
from tests.services.shop import Shop, opened

pytestmark = pytest.mark.thorough

RUNS = 250
SEED = int(os.environ.get("SAGA_STORM_SEED", "20261"))


@pytest.fixture
def shop(cluster: EmbeddedPostgres) -> Iterator[Shop]:
    """Three databases of this test's own."""
    with opened(cluster) as made:
        yield made


def test_money_and_stock_of_the_shop_are_conserved_over_real_databases_with_crashes(shop: Shop) -> None:
    report = Storm(shop, runs=RUNS, seed=SEED).blow()
    assert report.violations == [], f"{storm_audit.listed(report.violations)}\n{report}"
    assert report.ends.total() == RUNS
    assert min(report.ends[f"{kind} {end}"] for kind in KINDS for end in ("confirmed", "cancelled")) > RUNS // 20, (
        report
    )
    assert report.struck.total() > RUNS // 20, report
