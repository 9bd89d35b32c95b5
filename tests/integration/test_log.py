"""Capture from PostgreSQL's log on real databases: the same ticks as with triggers, and nothing lost on the way."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import SMALL_SHOP, Pair
from tests.integration.test_capture import WRITES
from tests.stage import Stage


@pytest.fixture
def logged(pair: Pair, settings: Any) -> Iterator[Stage]:
    """The stage with the monolith's side captured from the log."""
    with pair.connect("shop") as conn:
        conn.execute(SMALL_SHOP)
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SOURCES": {"orders": "log"}}
    made = Stage(pair)
    yield made
    made.close()


@pytest.mark.parametrize("name", WRITES)
def test_a_write_of_any_form_reaches_the_service_without_a_trigger(logged: Stage, name: str) -> None:
    logged.backfill()
    assert logged.differences() == []
    logged.shop.execute(WRITES[name])
    logged.settle()
    assert logged.differences() == []
