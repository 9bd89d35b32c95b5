"""Suites that switch schema migrations off: what the toolkit needs beside tables comes after `migrate` all the same."""

from collections.abc import Iterator

import pytest

from tests.conftest import SMALL_SHOP, Cluster, Pair, recreate
from tests.stage import Stage

SETTINGS = "tests.traps.settings_without_migrations"


@pytest.fixture
def plain(pair: Pair, cluster: Cluster) -> Iterator[Stage]:
    """A monolith's database made from models, in the place of the migrated one."""
    recreate(cluster, pair.shop, owner="shop_owner")
    made = pair.manage("migrate", "--run-syncdb", "-v0", "--settings", SETTINGS, SHOP_DB_USER="shop_owner")
    assert made.returncode == 0, made.stderr
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    stage = Stage(pair)
    yield stage
    stage.close()


def test_a_database_made_from_models_alone_captures_and_carries(plain: Stage) -> None:
    wake = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'strangle_outbox'::regclass AND NOT tgisinternal"
    assert plain.shop.execute(wake).fetchone() != (0,)
    plain.backfill()
    plain.shop.execute("UPDATE orders_order SET note = 'without migrations' WHERE id < 9")
    plain.settle()
    assert plain.differences() == []
    written = plain.orders.execute("SELECT count(*) FROM sales_order WHERE remark = 'without migrations'").fetchone()
    assert written == (8,)
